"""Running a command in this process and reading what it says and how it ends."""

import json
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError


def run(*args: str) -> tuple[int, str]:
    """Return a command's exit code, and its standard output or the error's text."""
    out = StringIO()
    try:
        call_command(*args, stdout=out, stderr=StringIO())
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


def run_json(*args: str) -> tuple[int, dict[str, Any]]:
    code, out = run(*args, "--json")
    told: dict[str, Any] = json.loads(out)
    return code, told
