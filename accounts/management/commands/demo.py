"""``manage.py demo``: a world to try every contract on, served at once."""

import json
import socket
import sys
from argparse import ArgumentParser
from io import StringIO
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from accounts.management.world import WorldError, enter_world

HOST = "127.0.0.1"


class Command(BaseCommand):
    help = (
        "Migrates the database (DATABASE_URL, or an SQLite file), creates the demo world once, "
        "prints who is who, and serves it on localhost. Never runs in production."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-serve", action="store_true", help="stop before serving")
        parser.add_argument("--json", action="store_true", help="print the world as JSON only")
        parser.add_argument(
            "--reset", action="store_true", help="empty a database that the demo made, start over"
        )

    def handle(
        self, *args: Any, port: int, no_serve: bool, json: bool, reset: bool, **options: Any
    ) -> None:
        if settings.PRODUCTION:
            raise CommandError("The demo does not run with ENVIRONMENT=production.")
        if not no_serve:
            _require_free(port)
        call_command("migrate", verbosity=0, interactive=False)
        try:
            world = enter_world(reset=reset)
        except WorldError as error:
            raise CommandError(error.reason) from error
        if settings.ERASURE_LEDGER:
            # A ledger of an earlier database may lie here: this one has nobody whom it names.
            call_command("replay_erasures", execute=True, stdout=StringIO())
        world["base_url"] = f"http://{HOST}:{port}"
        self.stdout.write(_as_json(world) if json else describe(world))
        self.stdout.flush()
        if not no_serve:
            serve(port)


def describe(world: dict[str, Any]) -> str:
    """Return the world as a text for people: who is who, and a curl line for each contract."""
    base, users, managed = world["base_url"], world["users"], world["managed_users"]
    lines = ["", "Sexton's demo world", ""]
    lines += [f"  {'user':<10} {'id':<32} {'password':<18} API key"]
    lines += [
        f"  {name:<10} {user['id']:<32} {user['password']:<18} {user['api_key']}"
        for name, user in users.items()
    ]
    lines += ["", f"  {'organization':<14} {'id':<38} owners"]
    lines += [
        f"  {name:<14} {it['id']:<38} {', '.join(it['owners'])}"
        for name, it in world["organizations"].items()
    ]
    lines += ["", "  northwind manages:"]
    lines += [f"  {name:<10} {user['id']}" for name, user in managed.items()]
    lines += ["", f"  northwind's platform key: {world['keys']['platform']}"]
    lines += ["", "  northwind's OAuth applications:"]
    lines += [
        f"  {it['name']:<16} {it['client_id']}  {it['client_secret']}"
        for it in world["applications"].values()
    ]
    lines += ["", "One line for each contract:", ""]
    for title, line in curl_lines(world).items():
        lines += [f"  # {title}", f"  {line}", ""]
    lines += ["OAuth:", ""]
    for title, line in oauth_lines(world).items():
        lines += [f"  # {title}", f"  {line}", ""]
    login = f"{users['operator']['username']} / {users['operator']['password']}"
    lines += [f"Admin: {base}/admin/ ({login})", f"API documentation: {base}/docs", ""]
    return "\n".join(lines)


def curl_lines(world: dict[str, Any]) -> dict[str, str]:
    """Return a line to paste for each contract, by what it does."""
    base, users, managed = world["base_url"], world["users"], world["managed_users"]
    acme = world["organizations"]["acme"]["id"]
    return {
        "DELETE /account: dana erases her own account": (
            f"curl -i -X DELETE {base}/account -H 'Authorization: Bearer "
            f"{users['dana']['api_key']}' -H 'Content-Type: application/json' "
            "-d '{\"confirm\": true}'"
        ),
        "DELETE /v1/user/{user_id}: bob soft-deletes his account": (
            f"curl -i -X DELETE {base}/v1/user/{users['bob']['id']} "
            f"-H 'X-API-Key: {users['bob']['api_key']}'"
        ),
        "DELETE /users/{userId}: northwind erases erin, whom it manages": (
            f"curl -i -X DELETE {base}/users/{managed['erin']['id']} "
            f"-H 'Authorization: bearer {world['keys']['platform']}' "
            "-H 'x-api-version: 2025-09'"
        ),
        "DELETE /organizations/{id}: alice deletes acme": (
            f"curl -i -X DELETE {base}/organizations/{acme} "
            f"-H 'Authorization: Bearer {users['alice']['api_key']}'"
        ),
        "DELETE /user/{userId}: the operator erases frank": (
            f"curl -i -X DELETE {base}/user/{managed['frank']['id']} "
            f"-H 'Authorization: Bearer {world['keys']['operator']}'"
        ),
    }


# The example of RFC 7636, appendix B; a real application makes up a new pair each time.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def oauth_lines(world: dict[str, Any]) -> dict[str, str]:
    """Return a line to paste, or an address to open, for each step of the two flows."""
    base = world["base_url"]
    report, planner = world["applications"]["report"], world["applications"]["planner"]
    asked = {
        "response_type": "code",
        "client_id": planner["client_id"],
        "redirect_uri": planner["redirect_uri"],
        "scope": planner["scope"],
        "state": "anything",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return {
        "a token that speaks for northwind": (
            f"curl -s {base}/oauth/token -u {report['client_id']}:{report['client_secret']} "
            f"-d grant_type=client_credentials -d scope={report['scope']}"
        ),
        "bob lets the planner read his profile: open this, and copy the code where it leads": (
            f"{base}/oauth/authorize?{urlencode(asked)}"
        ),
        "the planner's tokens, within a minute": (
            f"curl -s {base}/oauth/token -u {planner['client_id']}:{planner['client_secret']} "
            f"-d grant_type=authorization_code -d redirect_uri={planner['redirect_uri']} "
            f"-d code_verifier={VERIFIER} -d code=CODE"
        ),
    }


def serve(port: int) -> None:
    """Serve until interrupted, with the server that production uses. Logs go to stderr."""
    from granian import Granian
    from granian.constants import Interfaces

    sys.stderr.write(f"Serving on http://{HOST}:{port} (Ctrl-C stops it)\n")
    Granian(
        settings.WSGI_APPLICATION.replace(".application", ":application"),
        address=HOST,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=8,
        log_enabled=False,
        working_dir=settings.BASE_DIR,
    ).serve()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(f"Port {port} is taken. Choose another with --port.") from error


def _as_json(world: dict[str, Any]) -> str:
    return json.dumps(world, indent=2)
