"""``manage.py`` as a shell runs it: another process, with an environment of the test's own."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from config.settings import BASE_DIR

ROOT = Path(BASE_DIR)

PRODUCTION = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "sexton.example",
    "DATABASE_URL": "sqlite://:memory:",
    "ERASURE_LEDGER": "/nowhere/erasures.jsonl",
    "RECEIPT_SIGNING_KEY": '{"kty":"OKP","crv":"Ed25519","d":"' + secrets.token_urlsafe(32) + '"}',
    "EMAIL_URL": "smtp://mail.example",
}


def environment(**variables: str) -> dict[str, str]:
    """Return an environment of these variables and of what any process needs.

    Nothing else of the caller's comes along. Variables that a ``.env`` of this checkout might set
    are set to harmless values, for the process's environment wins over that file.
    """
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "TMPDIR", "VAR_DIR")
        if name in os.environ
    }
    harmless = {
        "ENVIRONMENT": "development",
        "SECRET_KEY": "only-for-tests-" * 4,
        "ALLOWED_HOSTS": "",
        "DATABASE_URL": "sqlite://:memory:",
        "EMAIL_URL": "",
        "CACHE_URL": "locmemcache://",
        "ERASURE_LEDGER": "none",
        "NUM_PROXIES": "0",
        "LOG_LEVEL": "INFO",
    }
    return {**kept, **harmless, **variables}


def python(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter to its end; return its exit code and what it wrote."""
    return subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def manage(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return python("manage.py", *args, **variables)
