"""Whether whoever acts on behalf of the house may do so, at this moment."""

from typing import Any

from django.contrib.auth import get_user_model

from audit.actors import Actor
from erasure.exceptions import RightMissing


def require_staff(actor: Actor, right: str) -> None:
    """Raise RightMissing unless the actor is live staff with a permission, or the system itself.

    ``right`` is a permission such as ``accounts.erase_user``. Whoever can run a command on the
    machine has every right already.
    """
    if actor.kind == "system":
        return
    found: Any = get_user_model()._default_manager
    staff = found.filter(pk=actor.user_id, is_active=True, is_deleted=False, is_staff=True).first()
    if staff is None or not staff.has_perm(right):
        raise RightMissing(right)
