"""How refusals and ids of this room read for staff."""

from apikeys.exceptions import (
    ApiKeyNotFound,
    ExpiryInThePast,
    OrganizationNotRun,
    OwnerArchived,
    ScopesNotGrantable,
)
from erasure.desk.refusals import put_into_words
from erasure.desk.shown import spell_kind

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
