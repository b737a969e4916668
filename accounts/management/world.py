"""The demo's world: who is who, and the secrets that only a demo database knows."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from accounts.hashers import DemoPasswordHasher
from accounts.joining import create_user, provision_user
from accounts.models import User
from apikeys import keyformat, scopes
from apikeys.services import issue_key
from audit import triggers
from audit.actors import Actor
from audit.events import Reference
from contracts import ids
from erasure import checkpoints
from organizations.founding import create_organization
from organizations.invitations import invite
from organizations.members import add_member
from organizations.models import Organization
from organizations.oauth.applications import create_application
from organizations.oauth.tokens import make_client_secret

PEOPLE = {
    "alice": "Alice Archer",
    "bob": "Bob Baker",
    "charlie": "Charlie Chandler",
    "dana": "Dana Dyer",
    "operator": "Olive Operator",
}
MANAGED = {"erin": "Erin Eaves", "frank": "Frank Fletcher", "grace": "Grace Glover"}
OWNERS = {"acme": ["alice"], "borealis": ["bob", "charlie"], "northwind": ["charlie"]}

ACTOR = Actor.system("demo")


@dataclass
class WorldError(Exception):
    """The demo cannot use this database; ``reason`` says why and what to do."""

    reason: str


def enter_world(*, reset: bool) -> dict[str, Any]:
    """Return the demo world of the current database, creating it when the database is empty.

    With ``reset`` a world that the demo made is emptied first. Raises WorldError for a database
    that holds users the demo did not make.
    """
    file = world_file()
    made_here = User.objects.filter(password__startswith=DemoPasswordHasher.algorithm).exists()
    if User.objects.exists() and not made_here:
        raise WorldError(
            f"This database holds {User.objects.count()} users that the demo did not make. "
            "Nothing was changed. Point DATABASE_URL at an empty database."
        )
    if reset:
        with triggers.lifted(connection):
            call_command("flush", interactive=False, verbosity=0)
        checkpoints.set_aside(now=timezone.now())
        file.unlink(missing_ok=True)
    elif made_here and file.exists():
        world: dict[str, Any] = json.loads(file.read_text())
        return world
    elif made_here:
        raise WorldError(
            f"The demo's secrets were kept in {file}, which is gone. Start over with --reset."
        )
    world = _create_world()
    file.parent.mkdir(exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps(world, indent=2))
    return world


def world_file() -> Path:
    """Return where the secrets of this database's world are kept, readable by their owner only."""
    given = connection.settings_dict
    place = {name: str(given[name]) for name in ("HOST", "PORT", "NAME")}
    # Over a Unix socket the server is told by an option.
    place["SOCKET"] = str(given["OPTIONS"].get("host", ""))
    name = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:12]
    return Path(settings.VAR_DIR) / f"demo-{name}.json"


def _create_world() -> dict[str, Any]:
    users = {name: _create_person(name, full_name) for name, full_name in PEOPLE.items()}
    uuids = {user.username: user.pk for user in User.objects.all()}
    now = timezone.now()
    organizations = {}
    for slug, owners in OWNERS.items():
        first, *others = owners
        pk = create_organization(
            actor=ACTOR, owner_id=uuids[first], name=slug.title(), slug=slug, now=now
        )
        for name in others:
            add_member(actor=ACTOR, organization_id=pk, user_id=uuids[name], role="owner", now=now)
        organizations[slug] = {"id": str(pk), "slug": slug, "owners": owners}
    acme = Organization.objects.get(slug="acme").pk
    northwind = Organization.objects.get(slug="northwind").pk
    add_member(actor=ACTOR, organization_id=acme, user_id=uuids["bob"], role="member", now=now)
    invite(actor=ACTOR, organization_id=acme, email="newcomer@example.com", role="member", now=now)
    managed = {}
    for name, full_name in MANAGED.items():
        pk = provision_user(
            actor=ACTOR,
            organization_id=northwind,
            username=name,
            external_id=f"customer-{name}",
            email=f"{name}@example.com",
            name=full_name,
            now=now,
        )
        managed[name] = {"id": ids.encode(ids.USER, pk), "username": name}
    owner = Actor(kind="user", id=uuids["charlie"], channel="demo", person_id=uuids["charlie"])
    platform = _issue(owner, Reference("organization", northwind), scopes.ORGANIZATION)
    return {
        "base_url": "",
        "users": users,
        "organizations": organizations,
        "managed_users": managed,
        "keys": {"platform": platform, "operator": users["operator"]["api_key"]},
        "applications": {
            "report": _register(
                owner, northwind, "Nightly report", "client_credentials", scopes.USERS_DELETE
            ),
            "planner": _register(
                owner,
                northwind,
                "Travel planner",
                "authorization_code",
                scopes.ACCOUNT_READ,
                redirect_uri="http://127.0.0.1/callback",
            ),
        },
    }


def _register(
    actor: Actor,
    organization_id: UUID,
    name: str,
    flow: str,
    *wanted: str,
    redirect_uri: str = "",
) -> dict[str, str]:
    """Create an OAuth application whose secret production does not accept."""
    made = create_application(
        actor=actor,
        organization_id=organization_id,
        name=name,
        flow=flow,
        now=timezone.now(),
        redirect_uris=[redirect_uri] if redirect_uri else [],
        wanted=wanted,
        secret=make_client_secret(for_demo=True),
    )
    return {
        "name": name,
        "client_id": made.application.client_id,
        "client_secret": made.secret,
        "redirect_uri": redirect_uri,
        "scope": " ".join(wanted),
    }


def _create_person(name: str, full_name: str) -> dict[str, str]:
    now = timezone.now()
    password = secrets.token_urlsafe(12)
    is_operator = name == "operator"
    pk = create_user(
        actor=ACTOR,
        username=name,
        email=f"{name}@example.com",
        name=full_name,
        is_staff=is_operator,
        is_superuser=is_operator,
        now=now,
    )
    hashed = make_password(password, hasher=DemoPasswordHasher.algorithm)
    User.objects.filter(pk=pk).update(password=hashed)
    oneself = Actor(kind="user", id=pk, channel="demo", person_id=pk)
    wanted = scopes.STAFF if is_operator else scopes.PERSONAL
    return {
        "id": ids.encode(ids.USER, pk),
        "username": name,
        "email": f"{name}@example.com",
        "password": password,
        "api_key": _issue(oneself, Reference("user", pk), wanted),
    }


def _issue(actor: Actor, owner: Reference, wanted: frozenset[str]) -> str:
    with transaction.atomic():
        issued = issue_key(
            actor=actor,
            owner=owner,
            name="demo",
            wanted=wanted,
            expires_at=None,
            now=timezone.now(),
            secret=keyformat.generate(settings.DEMO_KEY_PREFIX),
        )
    return issued.secret
