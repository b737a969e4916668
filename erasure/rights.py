"""Whether whoever acts on behalf of the house may do so, at this moment."""

from typing import Any

from django.contrib.auth import get_user_model

from audit.actors import Actor
from erasure.exceptions import RightMissing
from erasure.people import name_of_users, user_key
from erasure.subjects import SubjectKind


def require_staff(actor: Actor, right: str) -> None:
    """Raise RightMissing unless the actor is live staff with a permission, or the system itself.

    ``right`` is a permission such as ``accounts.erase_user``. Whoever can run a command on the
    machine has every right already.
    """
    if actor.kind == "system":
        return
    staff = _find_staff(actor)
    if staff is None or not staff.has_perm(right):
        raise RightMissing(right)


def right_to_restore(kind: SubjectKind) -> str:
    """Return the permission that restoring a kind of subject takes."""
    return kind.restore_permission or _default(kind, "change")


def right_to_erase(kind: SubjectKind) -> str:
    """Return the permission that erasing a kind of subject takes."""
    return kind.erase_permission or _default(kind, "delete")


def _default(kind: SubjectKind, verb: str) -> str:
    options = kind.model._meta
    return f"{options.app_label}.{verb}_{options.model_name}"


def _find_staff(actor: Actor) -> Any | None:
    if actor.id is None or actor.kind != name_of_users():
        return None
    model: Any = get_user_model()
    pk = user_key(actor.id)
    found = model._default_manager.filter(pk=pk, is_active=True, is_staff=True).first()
    return None if getattr(found, "is_deleted", False) else found
