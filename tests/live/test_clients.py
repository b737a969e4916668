"""Clients as the published documents show them, with host, id and key replaced."""

import json
import shutil
import subprocess
from typing import Any

import pytest
import requests

from accounts.management.commands.demo import curl_lines
from tests.live.servers import PATIENCE, Live


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout


def curl(*arguments: str) -> tuple[int, str]:
    out = run("curl", "-s", "-w", "\n%{http_code}", *arguments)
    body, _, status = out.rpartition("\n")
    return int(status), body


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
def test_curl_as_the_documents_write_it(live: Live) -> None:
    users, keys = live.world["users"], live.world["keys"]
    managed, acme = live.world["managed_users"], live.world["organizations"]["acme"]
    base = live.base
    assert curl(
        "--request", "DELETE",
        "--url", f"{base}/api-proxy/account",
        "--header", f"Authorization: Bearer {users['dana']['api_key']}",
        "--header", "Content-Type: application/json",
        "--data", '{"confirm": true}',
    ) == (200, '{"success":true,"data":{"deleted":true}}')  # fmt: skip
    status, body = curl(
        "-X", "DELETE", f"{base}/v1/user/{users['bob']['id']}",
        "-H", f"X-API-Key: {users['bob']['api_key']}",
    )  # fmt: skip
    assert (status, json.loads(body)) == (
        200,
        {
            "success": True,
            "message": "User account deleted successfully",
            "user_id": users["bob"]["id"],
        },
    )
    assert curl(
        "--request", "DELETE",
        "--url", f"{base}/users/{managed['erin']['username']}",
        "--header", f"Authorization: bearer {keys['platform']}",
        "--header", "accept: application/json",
        "--header", "x-api-version: 2025-09",
    ) == (200, '{"success":true}')  # fmt: skip
    assert curl(
        "-X", "DELETE", f"{base}/api/organizations/{acme['id']}",
        "-H", f"Authorization: Bearer {users['alice']['api_key']}",
    ) == (204, "")  # fmt: skip
    status, body = curl(
        "--request", "DELETE",
        "--url", f"{base}/user/{managed['frank']['id']}",
        "--header", f"Authorization: Bearer {keys['operator']}",
    )  # fmt: skip
    assert (status, list(json.loads(body))) == (200, ["success", "message"])


def test_python_requests_as_the_document_writes_it(live: Live) -> None:
    user = live.world["users"]["bob"]
    response = requests.delete(
        f"{live.base}/v1/user/{user['id']}",
        headers={"X-API-Key": user["api_key"]},
        timeout=PATIENCE,
    )
    result = response.json()
    assert (response.status_code, result["success"]) == (200, True)
    assert result["user_id"] == user["id"]


@needs_node
def test_javascript_fetch_as_the_document_writes_it(live: Live) -> None:
    user = live.world["users"]["bob"]
    script = """
        const [address, apiKey] = process.argv.slice(1);
        const response = await fetch(address, {
          method: 'DELETE',
          headers: { 'X-API-Key': apiKey },
        });
        const result = await response.json();
        console.log(JSON.stringify([response.status, result]));
    """
    address = f"{live.base}/v1/user/{user['id']}"
    status, result = json.loads(
        run("node", "--input-type=module", "-e", script, "--", address, user["api_key"])
    )
    assert status == 200
    assert result == {
        "success": True,
        "message": "User account deleted successfully",
        "user_id": user["id"],
    }


@needs_curl
def test_every_line_that_the_demo_prints_works(live: Live) -> None:
    answers: dict[str, Any] = {}
    for title, line in curl_lines({**live.world, "base_url": live.base}).items():
        answers[title.partition(":")[0]] = run("bash", "-c", f"{line} -s").partition("\n")[0]
    statuses = {title: int(line.split()[1]) for title, line in answers.items()}
    assert statuses == {
        "DELETE /account": 200,
        "DELETE /v1/user/{user_id}": 200,
        "DELETE /users/{userId}": 200,
        "DELETE /organizations/{id}": 204,
        "DELETE /user/{userId}": 200,
    }


def test_a_body_in_chunks_is_read(live: Live) -> None:
    key = live.world["users"]["dana"]["api_key"]
    headers = {"x-api-key": key, "Content-Type": "application/json"}

    def send(*chunks: bytes) -> requests.Response:
        return requests.delete(
            f"{live.base}/account", data=iter(chunks), headers=headers, timeout=PATIENCE
        )

    assert send(b"{", b'"confirm": false}').json()["error"] == "confirmation_required"
    assert send(b"{", b'"confirm": ', b" " * 70000).status_code == 413
    assert send(b'{"conf', b'irm": ', b"true}").status_code == 200
