"""Fills ours with users and keys, and records the statements of one deletion.

Run as ``python -m benchmarks.peers.ours SUBJECTS BYSTANDERS FOLDER`` with ours's environment.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from benchmarks.peers.recording import Recorder


def main() -> None:
    subjects, bystanders, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    django.setup()
    logging.disable(logging.CRITICAL)
    call_command("migrate", verbosity=0)
    # The first request pays for what is loaded lazily; the second one is recorded.
    spare, *requests = fill(subjects + 2, bystanders)
    delete(spare)
    (folder / "statements.json").write_text(json.dumps(record(requests.pop())))
    (folder / "ours.json").write_text(json.dumps(requests))


def fill(subjects: int, bystanders: int) -> list[dict[str, str]]:
    """Create users with one key each, and as many requests as there are subjects."""
    from accounts.models import User
    from apikeys import keyformat, scopes
    from apikeys.models import ApiKey
    from contracts import ids

    now = timezone.now()
    users = [
        User(username=f"u{n}", email=f"u{n}@example.com", password="!", date_joined=now)
        for n in range(subjects + bystanders)
    ]
    secrets = [keyformat.generate(settings.API_KEY_PREFIX) for _ in users]
    User.objects.bulk_create(users, batch_size=5000)
    ApiKey.objects.bulk_create(
        [
            ApiKey(
                name="benchmark",
                digest=secret.digest,
                hint=secret.hint,
                user_id=user.pk,
                scopes=sorted(scopes.PERSONAL),
                created_at=now,
            )
            for user, secret in zip(users, secrets, strict=True)
        ],
        batch_size=5000,
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    pairs = list(zip(users, secrets, strict=True))[:subjects]
    return [
        {
            "path": f"/v1/user/{ids.encode(ids.USER, user.pk)}",
            "header": "X-API-Key",
            "value": secret.text,
        }
        for user, secret in pairs
    ]


def delete(request: dict[str, str]) -> Any:
    client = Client(HTTP_HOST="127.0.0.1", HTTP_USER_AGENT="benchmark")
    response = client.delete(request["path"], headers={request["header"]: request["value"]})
    if response.status_code != 200:
        raise RuntimeError(f"Ours answers {response.status_code}: {response.content!r}")
    return response


def record(request: dict[str, str]) -> dict[str, Any]:
    """Delete one user and return the statements of it, as ``recording`` describes them."""
    from apikeys import keyformat
    from apikeys.models import ApiKey

    digest = keyformat.digest(request["value"])
    key = ApiKey.objects.get(digest=digest)
    known = {key.user_id: "user", key.pk: "key", digest: "digest"}
    recorder = Recorder(known, lambda: connection.in_atomic_block)
    with connection.execute_wrapper(recorder):
        response = delete(request)
    known[response.headers["X-Request-ID"]] = "request_id"
    # Which columns of the lookup tell the raw peer who is asking.
    lookup, values, _ = next(seen for seen in recorder.seen if digest in seen[1])
    with connection.cursor() as cursor:
        cursor.execute(lookup, values)
        row = cursor.fetchone()
    columns = {"key": row.index(key.pk), "user": row.index(key.user_id)}
    return {"steps": recorder.steps(), "columns": columns}


if __name__ == "__main__":
    main()
