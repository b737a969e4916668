"""The reference verifiers of Standard Webhooks, in Python and in JavaScript, accept every delivery
and none in which a byte was changed: in the body, in the id, in the time or in the signature."""

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit.events import Reference
from erasure.typeids import spell_id
from organizations.webhooks.events import DESCRIPTIONS, write_payload
from organizations.webhooks.signatures import make_secret, sign
from tests.proofs.sizes import SIGNED

HERE = Path(__file__).resolve().parent
LIBRARY = "standardwebhooks@1.1.1"
PATIENCE = 300

Message = dict[str, Any]


def deliveries(size: int) -> Iterator[Message]:
    """Messages as they are sent; every other one during a rotation, for a holder of either
    secret."""
    now = timezone.now()
    kinds = list(DESCRIPTIONS)
    for number in range(size):
        event = kinds[number % len(kinds)]
        kind = "organization" if event.startswith("organization") else "user"
        body = write_payload(
            event,
            subject=Reference(kind, uuid7()),
            sequence=number,
            now=now,
            facts={"deletion": uuid7(), "key": uuid7(), "member": uuid7()},
        )
        known = [make_secret() for _ in range(1 + number % 2)]
        headers = sign(spell_id("msg", uuid7()), body, known, now=now)
        yield {"secret": known[-1], "headers": headers, "body": body.encode()}


def change_a_byte(message: Message, rng: random.Random) -> Message:
    """Return a message that differs in one byte of what its signature is about, or of it."""
    headers, body = dict(message["headers"]), message["body"]
    part = rng.choice(["body", *headers])
    if part == "body":
        return {**message, "body": _flip(body, rng)}
    if part == "webhook-timestamp":
        # Another second within what is tolerated.
        headers[part] = str(int(headers[part]) + rng.choice([-2, -1, 1, 2]))
    elif part == "webhook-signature":
        headers[part] = " ".join(_forge(one, rng) for one in headers[part].split())
    else:
        place = rng.randrange(len(headers[part]))
        old = headers[part][place]
        headers[part] = (
            headers[part][:place] + ("x" if old != "x" else "y") + headers[part][place + 1 :]
        )
    return {**message, "headers": headers}


def _flip(body: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(body))
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def _forge(signature: str, rng: random.Random) -> str:
    version, _, text = signature.partition(",")
    return f"{version},{base64.b64encode(_flip(base64.b64decode(text), rng)).decode()}"


def accepts(message: Message) -> bool:
    try:
        standardwebhooks.Webhook(message["secret"]).verify(message["body"], message["headers"])
    except (standardwebhooks.WebhookVerificationError, ValueError):
        return False
    return True


def ask_javascript(messages: list[Message], modules: Path) -> list[bool]:
    lines = [
        json.dumps({**one, "body": base64.b64encode(one["body"]).decode()}) for one in messages
    ]
    done = subprocess.run(
        ["node", str(HERE / "webhooks.js")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env={**os.environ, "NODE_PATH": str(modules)},
    )
    return [answer == "1" for answer in done.stdout.split()]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the JavaScript library lies: what NODE_PATH names, or installed for this run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    try:
        done = subprocess.run(
            [*command, str(folder), LIBRARY],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the registry of npm does not answer")
    if done.returncode:
        pytest.skip(f"npm cannot install {LIBRARY}: {done.stderr.strip()[-200:]}")
    return folder / "node_modules"


@SIGNED
def test_the_python_verifier_accepts_all_and_no_forgery(size: int) -> None:
    rng = random.Random(f"forgeries {size}")
    sent = list(deliveries(size))
    assert sum(map(accepts, sent)) == size
    assert sum(accepts(change_a_byte(one, rng)) for one in sent) == 0


@SIGNED
def test_the_javascript_verifier_accepts_all_and_no_forgery(size: int, modules: Path) -> None:
    rng = random.Random(f"forgeries {size}")
    sent = list(deliveries(size))
    forged = [change_a_byte(one, rng) for one in sent]
    assert sum(ask_javascript(sent, modules)) == size
    answers = ask_javascript(forged, modules)
    assert len(answers) == size
    assert sum(answers) == 0
