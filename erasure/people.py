"""Who the people are that act: users of whatever model ``AUTH_USER_MODEL`` names, as ids.

Where that model is a kind of subject, its users act under the ids that their own erasure looks
for; otherwise they have ids of their own, which no subject has.
"""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import models

from audit.events import Reference
from erasure.subjects import SubjectKind, get_kind, kind_names, number_of, spell_number

USER = "user"
"""What the audit log calls the people of a project in which they are no subjects."""


def kind_of_users() -> SubjectKind | None:
    """Return the kind of subject whose rows are the project's users, if there is one."""
    users = get_user_model()._meta.concrete_model
    kinds = map(get_kind, kind_names())
    return next((one for one in kinds if one.model._meta.concrete_model is users), None)


def name_of_users() -> str:
    """Return the word that the audit log has for people: that of their kind, or ``user``."""
    kind = kind_of_users()
    return kind.name if kind else USER


def person_of(user: Any) -> Reference:
    """Return the person that a user's row is, as actors name it."""
    if (kind := kind_of_users()) is not None:
        return Reference(kind.name, kind.id_of(user.pk))
    pk = user.pk
    return Reference(USER, pk if isinstance(pk, UUID) else spell_number(USER, int(pk)))


def user_key(person_id: UUID) -> Any:
    """Return the key of the user's row that a person is: the inverse of ``person_of``."""
    if (kind := kind_of_users()) is not None:
        return kind.pk_of(person_id)
    is_uuid = isinstance(get_user_model()._meta.pk, models.UUIDField)
    return person_id if is_uuid else number_of(USER, person_id)
