"""How refusals and facts of this room read for staff."""

from erasure.desk.shown import spell_fact
from erasure.refusals import put_into_words
from organizations.exceptions import (
    NotOrganizationOwner,
    SettlementRefused,
    SlugTaken,
    SoleOwner,
)

spell_fact("member", "user")
put_into_words(
    {
        SoleOwner: lambda error: (
            "it would leave without an owner: " + ", ".join(it.name for it in error.organizations)
        ),
        SlugTaken: "another organization bears its slug",
        SettlementRefused: "what was decided for an organization cannot be carried out",
        NotOrganizationOwner: "only an owner may do this",
    }
)
