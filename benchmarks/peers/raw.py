"""The limit: a WSGI callable that sends ours's statements through psycopg, and does nothing else.

One connection per thread, kept open; psycopg prepares what it sees often, as it does by default.
"""

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.peers.recording import build, new_names, values_of_request

recorded = json.loads(Path(os.environ["STATEMENTS"]).read_text())
steps = [
    (step["sql"], [build(slot) for slot in step["slots"]], step["atomic"], "SELECT" in step["sql"])
    for step in recorded["steps"]
]
names = new_names([step["slots"] for step in recorded["steps"]])
outside = [step for step in steps if not step[2]]
inside = [step for step in steps if step[2]]
key_column, user_column = recorded["columns"]["key"], recorded["columns"]["user"]
local = threading.local()


def application(environ: Any, start_response: Any) -> list[bytes]:
    if not hasattr(local, "cursor"):
        local.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        local.cursor = local.connection.cursor()
    values = values_of_request(names)
    values["digest"] = hashlib.sha256(environ["HTTP_X_API_KEY"].encode()).hexdigest()
    lookup, *others = outside
    (row,) = execute(lookup, values)
    values["key"], values["user"] = row[key_column], row[user_column]
    for step in others:
        execute(step, values)
    with local.connection.transaction():
        for step in inside:
            execute(step, values)
    shown = environ["PATH_INFO"].rpartition("/")[2]
    message = "User account deleted successfully"
    body = json.dumps({"success": True, "message": message, "user_id": shown}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def execute(step: Any, values: dict[str, Any]) -> Any:
    text, slots, _, reads = step
    local.cursor.execute(text, [slot(values) for slot in slots])
    return local.cursor.fetchall() if reads and local.cursor.description else None
