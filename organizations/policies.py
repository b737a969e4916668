"""What happens to an organization's rows, and to a person's rows that no foreign key binds."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from erasure.subjects import register_loose_reference, register_subject


def match_invitations(user: Any) -> Q:
    """Invitations quote the invitee's address, so they go with the invitee, whoever wrote them.

    Not when somebody else has taken the address since: then it is theirs.
    """
    if not user.email:
        return Q(pk=None)
    same_address = Q(Exact(Lower("email"), Lower(Value(user.email))))
    taken_since = get_user_model()._default_manager.filter(same_address, is_deleted=False)
    return same_address & ~Q(Exists(taken_since.exclude(pk=user.pk)))


register_subject("organization", "organizations.Organization")
register_loose_reference("user", "organizations.Invitation", match_invitations)
