"""How refusals and ids of this room read for staff."""

from apikeys.exceptions import (
    ApiKeyNotFound,
    ExpiryInThePast,
    OrganizationNotRun,
    OwnerArchived,
    ScopesNotGrantable,
)
from erasure.desk.shown import spell_kind
from erasure.refusals import put_into_words

KEY = "key"

spell_kind(KEY, "key")
put_into_words(
    {
        ApiKeyNotFound: "there is no such key any more",
        OwnerArchived: "its organization is archived",
        OrganizationNotRun: "the organization is deleted or inactive",
        ScopesNotGrantable: lambda error: (
            "an owner of this kind cannot hold " + ", ".join(error.scopes)
        ),
        ExpiryInThePast: "the expiry lies in the past",
    }
)
