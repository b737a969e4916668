"""Clients that do a bit of everything over HTTP, each with what it made itself and all of them with
what they share. Whatever is answered otherwise than it may be is noted."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests

from tests.live.servers import PATIENCE

MOST = 25
"""Of each kind that a client keeps; it makes no more then."""

RACED = {200, 201, 202, 204, 403, 404, 409}
"""What may come of something that others change at the same moment."""

WEBHOOK_EVENTS = ["member.removed", "organization.deleted", "user.erased", "api_key.revoked"]


class Refused(Exception):
    """An answer that should not have come; the client goes on with something else."""


@dataclass
class Report:
    """What all clients were answered, by what they were about to do."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, deed: str, status: int, fault: str = "") -> None:
        with self.lock:
            self.answers[deed, status] += 1
            if fault:
                self.faults.append(fault)

    def statuses(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for (_, status), times in self.answers.items():
            found[status] += times
        return found


class MixedClient:
    """One of them. Every method that begins with ``do_`` is something it does."""

    def __init__(
        self, base: str, who: dict[str, Any], world: dict[str, Any], report: Report, hook: str
    ) -> None:
        self.base, self.who, self.world, self.report = base, who, world, report
        self.hook = hook
        self.rng = random.Random(f"mixed:{who['number']}")
        self.session = requests.Session()
        self.made = 0
        self.organizations: list[str] = []
        self.deed = "settle_in"
        self.home = ""
        self.platform = ""
        self.people: list[str] = []
        self.removed: list[str] = []

    # --- asking ----------------------------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        allowed: Collection[int],
        body: Any = None,
        key: str = "",
        **more: Any,
    ) -> requests.Response:
        """Send a request, and raise Refused when it is answered otherwise than allowed."""
        headers = {"Authorization": f"Bearer {key or self.who['key']}", "x-api-version": "2025-09"}
        if "auth" in more:
            del headers["Authorization"]
        try:
            answer = self.session.request(
                method, self.base + path, json=body, headers=headers, timeout=PATIENCE, **more
            )
        except requests.RequestException as error:
            self.report.note(self.deed, 0, f"{method} {path}: {type(error).__name__}")
            raise Refused from error
        is_fine = answer.status_code in allowed
        fault = "" if is_fine else f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        self.report.note(self.deed, answer.status_code, fault)
        if not is_fine:
            raise Refused
        return answer

    def name(self) -> str:
        self.made += 1
        return f"c{self.who['number']}-{self.made}"

    def found(self) -> str:
        """Create an organization of one's own."""
        slug = self.name()
        made = self.ask("POST", "/v1/organizations", {201}, {"name": slug, "slug": slug})
        return str(made.json()["id"])

    def settle_in(self) -> None:
        """Create the organization that one lives in, with a key of its own."""
        self.home = self.found()
        wish = {
            "name": "platform",
            "organization_id": self.home,
            "scopes": ["users:delete", "organizations:read", "webhooks:write", "audit:read"],
        }
        self.platform = self.ask("POST", "/v1/api-keys", {201}, wish).json()["secret"]

    def run(self, seconds: float) -> None:
        """Do everything once, in an order of one's own, and then anything until the time is up."""
        until = time.monotonic() + seconds
        weights = [WEIGHTS.get(it, 4) for it in DEEDS]
        with self.session:
            self.settle_in()
            # The large ones go in any case, and early enough to be drained amid the rest.
            for large in self.who["large"]:
                self._go("tear_down_large", partial(self.tear_down_large, large))
            for deed in self.rng.sample(DEEDS, len(DEEDS)):
                self._go(deed, getattr(self, deed))
            while time.monotonic() < until:
                [deed] = self.rng.choices(DEEDS, weights)
                self._go(deed, getattr(self, deed))

    def _go(self, name: str, deed: Callable[[], None]) -> None:
        self.deed = name
        with suppress(Refused):
            deed()

    # --- organizations ---------------------------------------------------------------------------

    def tear_down(self, organization: str) -> str:
        """Return where the progress is told; nothing when there is nothing left to do."""
        answer = self.ask("DELETE", f"/organizations/{organization}", {204})
        where: str = answer.headers.get("Location", "")
        if where:
            self.ask("GET", where, {200})
        self.ask("GET", f"/v1/organizations/{organization}", {404})
        return where

    def tear_down_large(self, organization: str) -> None:
        if not self.tear_down(organization):
            self.report.note(self.deed, 204, f"{organization} was not left to a worker")

    def do_found(self) -> None:
        if len(self.organizations) < MOST:
            self.organizations.append(self.found())

    def take_one(self) -> str:
        """Return an organization of one's own that nothing else is done with from now on."""
        return self.organizations.pop() if self.organizations else self.found()

    def do_tear_down(self) -> None:
        gone = self.take_one()
        wish = {"url": self.hook, "events": ["organization.deleted"]}
        self.ask("POST", f"/v1/organizations/{gone}/webhooks", {201}, wish)
        self.ask("GET", f"/v1/organizations/{gone}/deletion-preview", {200})
        self.tear_down(gone)

    def do_close_and_change_ones_mind(self) -> None:
        taken = self.take_one()
        one = f"/v1/organizations/{taken}"
        slug = self.ask("GET", one, {200}).json()["slug"]
        self.ask("POST", f"{one}/deletion", {409}, {"slug": "wrong"})
        self.ask("POST", f"{one}/deletion", {202}, {"slug": slug})
        self.ask("POST", f"{one}/deletion/cancel", {200})
        self.organizations.append(taken)

    def do_close(self) -> None:
        gone = f"/v1/organizations/{self.take_one()}"
        slug = self.ask("GET", gone, {200}).json()["slug"]
        self.ask("POST", f"{gone}/deletion", {202}, {"slug": slug})

    def do_archive(self) -> None:
        taken = self.take_one()
        one = f"/v1/organizations/{taken}"
        self.ask("POST", f"{one}/archive", {200})
        self.ask("PATCH", one, {409}, {"name": "No"})
        self.ask("POST", f"{one}/unarchive", {200})
        self.ask("PATCH", one, {200}, {"name": self.name()})
        self.organizations.append(taken)

    # --- members and invitations -----------------------------------------------------------------

    def common(self) -> str:
        return f"/v1/organizations/{self.rng.choice(self.world['commons'])}"

    def do_change_roles(self) -> None:
        other = self.rng.choice(self.world["callers"])["id"]
        role = self.rng.choice(["owner", "admin", "member"])
        self.ask("PATCH", f"{self.common()}/members/{other}", RACED, {"role": role})

    def do_pass_on(self) -> None:
        other = self.rng.choice(self.world["callers"])["id"]
        wish = {"to": other, "keep_role": self.rng.choice(["owner", "admin", "member"])}
        self.ask("POST", f"{self.common()}/transfer", RACED | {422}, wish)

    def do_read_members(self) -> None:
        self.ask("GET", f"{self.common()}/members", {200, 404})

    def do_come_and_leave(self) -> None:
        if self.who["tokens"]:
            token = self.who["tokens"].pop()
            self.ask("POST", "/v1/invitations/accept", {200}, {"token": token})
            self.ask("POST", f"/v1/organizations/{self.who['door']}/leave", {204})

    def do_invite(self) -> None:
        place = f"/v1/organizations/{self.home}/invitations"
        wish = {"email": f"{self.name()}@example.net"}
        made = self.ask("POST", place, {201}, wish).json()["id"]
        self.ask("GET", place, {200})
        if self.rng.random() < 0.7:
            self.ask("DELETE", f"{place}/{made}", {204})

    def do_invite_to_a_common(self) -> None:
        # The same address from everywhere: each ends the one before.
        self.ask("POST", f"{self.common()}/invitations", RACED, {"email": "new@example.net"})

    # --- people ----------------------------------------------------------------------------------

    def do_soft_delete_and_restore(self) -> None:
        if self.who["leavers"]:
            one = self.who["leavers"].pop()
            me = f"/v1/user/{one['id']}"
            self.ask("GET", f"{me}/deletion-preview", {200}, key=one["key"])
            if self.rng.random() < 0.3:
                self.ask("DELETE", me, {200}, key=one["key"])
                return
            done = self.ask("POST", f"{me}/deletion", {202}, key=one["key"]).json()
            self.ask("GET", me, {401}, key=one["key"])
            if self.rng.random() < 0.7:
                where = f"/v1/deletions/{done['id']}/restore"
                self.ask("POST", where, {200}, key=self.world["operator"])
            if self.rng.random() < 0.5:
                self.ask("DELETE", f"/user/{one['id']}", {200}, key=self.world["operator"])

    def do_preview(self) -> None:
        self.ask("GET", f"/v1/user/{self.who['id']}/deletion-preview", {200})

    def provision(self) -> str:
        name = self.name()
        wish = {"username": name, "external_id": name, "email": f"{name}@example.org"}
        place = f"/v1/organizations/{self.home}/managed-users"
        return str(self.ask("POST", place, {201}, wish).json()["user_id"])

    def remove(self) -> str:
        one = self.people.pop() if self.people else self.provision()
        self.ask("DELETE", f"/v1/organizations/{self.home}/managed-users/{one}", {202})
        return one

    def do_provision(self) -> None:
        if len(self.people) < MOST:
            self.people.append(self.provision())

    def do_remove_managed(self) -> None:
        self.removed.append(self.remove())

    def do_restore_managed(self) -> None:
        one = self.removed.pop() if self.removed else self.remove()
        self.ask("POST", f"/v1/organizations/{self.home}/managed-users/{one}/restore", {200})
        self.people.append(one)

    def do_erase_managed(self) -> None:
        one = self.people.pop() if self.people else self.provision()
        self.ask("DELETE", f"/users/{one}", {200}, key=self.platform)

    # --- credentials -----------------------------------------------------------------------------

    def do_keys(self) -> None:
        wish = {"name": self.name(), "scopes": ["account:read"]}
        made = self.ask("POST", "/v1/api-keys", {201}, wish).json()
        me = f"/v1/user/{self.who['id']}"
        self.ask("GET", me, {200}, key=made["secret"])
        self.ask("DELETE", f"/v1/api-keys/{made['id']}", {204})
        self.ask("GET", me, {401}, key=made["secret"])

    def do_oauth(self) -> None:
        place = f"/v1/organizations/{self.home}/applications"
        wish = {"name": self.name(), "flow": "client_credentials", "scopes": ["webhooks:read"]}
        made = self.ask("POST", place, {201}, wish).json()
        pair = (made["client_id"], made["client_secret"])
        form = {"grant_type": "client_credentials"}
        token = self.ask("POST", "/oauth/token", {200}, auth=pair, data=form).json()
        webhooks = f"/v1/organizations/{self.home}/webhooks"
        self.ask("GET", webhooks, {200}, key=token["access_token"])
        if self.rng.random() < 0.5:
            form = {"token": token["access_token"]}
            self.ask("POST", "/oauth/revoke", {200}, auth=pair, data=form)
        else:
            self.ask("DELETE", f"{place}/{made['id']}", {204})
        self.ask("GET", webhooks, {401}, key=token["access_token"])

    # --- webhooks and what happened --------------------------------------------------------------

    def do_webhooks(self) -> None:
        place = f"/v1/organizations/{self.rng.choice([self.home, *self.organizations])}/webhooks"
        listed = self.ask("GET", place, {200}).json()["data"]
        if len(listed) > 2:
            one = f"{place}/{listed[0]['id']}"
            self.ask("DELETE", one, {204})
            self.ask("GET", one, {404})
            return
        wish = {"url": self.hook, "events": WEBHOOK_EVENTS}
        one = f"{place}/{self.ask('POST', place, {201}, wish).json()['id']}"
        self.ask("PATCH", one, {200}, {"name": self.name()})
        self.ask("POST", f"{one}/test", {202})
        self.ask("GET", f"{one}/deliveries", {200})

    def do_read_events(self) -> None:
        key = self.rng.choice([self.who["key"], self.platform, self.world["operator"]])
        self.ask("GET", "/v1/audit-events?limit=50", {200}, key=key)


WEIGHTS = {"do_soft_delete_and_restore": 6, "do_found": 6, "do_tear_down": 4, "do_close": 2}
"""How often something is done among the others, 4 if nothing is said."""

DEEDS = [name for name in vars(MixedClient) if name.startswith("do_")]
