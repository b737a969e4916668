"""Why work on a user is refused."""

from dataclasses import dataclass
from uuid import UUID

from erasure.exceptions import DeletionError, RestoreError


@dataclass
class SomebodyElse(DeletionError):
    """Only one's own account can be deleted this way."""

    user_id: UUID


@dataclass
class Oneself(DeletionError):
    """One's own account cannot be deleted this way."""

    user_id: UUID


@dataclass
class NameTaken(RestoreError):
    """Somebody else bears the username or the e-mail address by now. ``field`` says which."""

    user_id: UUID
    field: str
