"""``manage.py issue_key``: a key from the shell, such as a deployment's first ones."""

import json as jsonlib
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from accounts.models import User
from apikeys import scopes
from apikeys.exceptions import ExpiryInThePast, OwnerArchived, ScopesNotGrantable
from apikeys.services import IssuedKey, grant_key
from audit.actors import Actor
from audit.events import Reference
from contracts import ids
from erasure.exceptions import ActorGone
from erasure.management.shell import GatedCommand
from organizations.models import Organization


class Command(GatedCommand):
    help = (
        "Issues an API key to a user or an organization and prints its secret, once, on standard "
        "output. Whoever may run this may act as anybody: guard the shell accordingly."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--user", metavar="USERNAME_OR_ID", help="a username or a usr_… id")
        owner.add_argument("--organization", metavar="SLUG_OR_ID", help="a slug or a UUID")
        parser.add_argument("--name", type=_name, default="issued by an operator")
        parser.add_argument(
            "--scope",
            action="append",
            dest="wanted",
            choices=sorted(scopes.DESCRIPTIONS),
            help="may be repeated; default: every scope that the owner may hold",
        )
        parser.add_argument(
            "--expires", type=_moment, metavar="ISO", help="2027-01-31T12:00:00+01:00; default: no"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self,
        *args: Any,
        user: str | None,
        organization: str | None,
        name: str,
        wanted: list[str] | None,
        expires: datetime | None,
        json: bool,
        **options: Any,
    ) -> None:
        owner = _find_user(user) if user is not None else _find_organization(organization or "")
        try:
            issued = _issue(owner, name, wanted, expires)
        except ScopesNotGrantable as error:
            raise CommandError(
                f"Not grantable to this {owner.kind}: {', '.join(error.scopes)}. Nothing was done."
            ) from error
        except ExpiryInThePast as error:
            raise CommandError("--expires lies in the past. Nothing was done.") from error
        except OwnerArchived as error:
            raise CommandError(
                "This organization is archived and gets no key. Nothing was done."
            ) from error
        except ActorGone as error:
            raise CommandError(
                f"This {owner.kind} is deleted or inactive and gets no key. Nothing was done."
            ) from error
        if json:
            self.stdout.write(jsonlib.dumps(_describe(issued, owner)))
            return
        # Only the secret goes to standard output, so that it can be piped where it belongs.
        self.stderr.write(
            f"Key {issued.key.name!r} of {owner.kind} {owner.id}: {', '.join(issued.key.scopes)}.\n"
            "Its secret is shown this once:"
        )
        self.stdout.write(issued.secret)


def _issue(
    owner: Reference, name: str, wanted: list[str] | None, expires: datetime | None
) -> IssuedKey:
    """Issue a key. Without ``wanted``, ask for every scope there is and leave out what the service
    refuses: it alone knows what an owner may hold."""

    def issue(asked: frozenset[str]) -> IssuedKey:
        return grant_key(
            actor=Actor.system("issue_key"),
            owner=owner,
            name=name,
            wanted=asked,
            expires_at=expires,
            now=timezone.now(),
        )

    if wanted is not None:
        return issue(frozenset(wanted))
    everything = frozenset(scopes.DESCRIPTIONS)
    try:
        return issue(everything)
    except ScopesNotGrantable as refused:
        return issue(everything.difference(refused.scopes))


def _find_user(text: str) -> Reference:
    found = User.objects.filter(is_deleted=False, username=text)
    if (pk := ids.decode(ids.USER, text)) is not None:
        found = User.objects.filter(pk=pk)
    for user_id in found.values_list("pk", flat=True):
        return Reference("user", user_id)
    raise CommandError(f"There is no user {text!r}.")


def _find_organization(text: str) -> Reference:
    found = Organization.objects.filter(is_deleted=False, slug=text)
    if (pk := ids.decode_uuid(text)) is not None:
        found = Organization.objects.filter(pk=pk)
    for organization_id in found.values_list("pk", flat=True):
        return Reference("organization", organization_id)
    raise CommandError(f"There is no organization {text!r}.")


def _describe(issued: IssuedKey, owner: Reference) -> dict[str, Any]:
    key = issued.key
    is_user = owner.kind == "user"
    return {
        "id": ids.encode(ids.KEY, key.id),
        "name": key.name,
        "owner": {
            "kind": owner.kind,
            "id": ids.encode(ids.USER, owner.id) if is_user else str(owner.id),
        },
        "scopes": key.scopes,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "secret": issued.secret,
    }


def _name(text: str) -> str:
    if not 1 <= len(text) <= 100 or not text.isprintable() or text.isspace():
        raise ArgumentTypeError("must be 1 to 100 printable characters")
    return text


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("must be a time such as 2027-01-31T12:00:00+01:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
