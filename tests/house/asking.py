"""What the tests of the deletions' house API share: asking, and reading refusals."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from contracts import ids
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.contracts.transcript import Call
from tests.factories import MembershipFactory, OrganizationFactory


def ask(
    method: str, path: str, key: str | None = None, body: Any = None, headers: Any = None
) -> Any:
    """Send a request as a client would; ``body`` is JSON, or bytes as they are."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    return Call(method, path, {**authorization, **(headers or {})}, raw).send()


def refused(response: Any) -> tuple[int, str]:
    """Return the status and code of a refusal."""
    return response.status_code, response.json()["error"]["code"]


def details(response: Any) -> Any:
    return response.json()["error"]["details"]


def faults(response: Any) -> set[tuple[str, ...]]:
    """Return where a body is said to be wrong."""
    return {tuple(map(str, fault["loc"])) for fault in details(response)["faults"]}


def spell(user: User) -> str:
    return ids.encode(ids.USER, user.pk)


def spell_deletion(pk: UUID) -> str:
    return ids.encode(ids.DELETION, pk)


def deletion_of(subject: User | Organization) -> DeletionRequest:
    return DeletionRequest.objects.get(subject_id=subject.pk)


def owned_by(user: User) -> Organization:
    """Create an organization that a user alone owns."""
    organization: Organization = OrganizationFactory()
    MembershipFactory(user=user, organization=organization, role="owner")
    return organization


def make_due(subject: User | Organization) -> None:
    """Let the grace period of a subject's deletion be over."""
    past = timezone.now() - timedelta(hours=1)
    DeletionRequest.objects.filter(subject_id=subject.pk).update(due_at=past)
