"""Who acts: the value that every service and every audit event takes."""

from dataclasses import dataclass, field
from typing import Self
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from. Personal data: it is only ever kept as erasable details."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks for a change, and through what.

    ``kind`` is ``system`` or a kind of principal: ``user``, ``organization``, or what a project
    calls its own users. ``id`` is that principal's id and None for the system. ``person_id`` is the
    human behind it where one is known: a user itself, the creator of an organization's key.
    ``credential_id`` names the API key, if one was used. ``reason`` is why, in words that staff
    typed: a personal value, kept beside each event of what they do. An erasure takes none, since
    nothing that was said of somebody may outlive them.
    """

    kind: str
    id: UUID | None
    channel: str
    request_id: str = ""
    person_id: UUID | None = None
    credential_id: UUID | None = None
    origin: Origin = field(default_factory=Origin)
    reason: str = ""

    @classmethod
    def system(cls, channel: str, request_id: str = "") -> Self:
        """Return the actor of unattended work, such as a purge from cron."""
        return cls(kind="system", id=None, channel=channel, request_id=request_id)

    @property
    def user_id(self) -> UUID | None:
        return self.id if self.kind == "user" else None

    @property
    def organization_id(self) -> UUID | None:
        return self.id if self.kind == "organization" else None

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" if self.id else self.kind
