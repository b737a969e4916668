"""How refusals and ids of this room read for staff."""

from erasure.desk.shown import spell_kind
from erasure.refusals import put_into_words
from organizations.webhooks.exceptions import (
    AlreadyPending,
    EndpointDisabled,
    OrganizationOutOfReach,
    TargetRefused,
    TooManyEndpoints,
    UnknownEvents,
    WebhookNotFound,
)
from organizations.webhooks.recipients import ENDPOINT
from organizations.webhooks.signatures import MESSAGE

WEBHOOK = "webhook"
WEBHOOK_MESSAGE = "webhook message"

spell_kind(WEBHOOK, ENDPOINT)
spell_kind(WEBHOOK_MESSAGE, MESSAGE)
put_into_words(
    {
        WebhookNotFound: "there is no such endpoint or delivery any more",
        OrganizationOutOfReach: "the organization is deleted",
        TargetRefused: lambda error: (
            f"nothing may be sent to this address. {error.reason.rstrip('.')}"
        ),
        UnknownEvents: "there are no such events",
        TooManyEndpoints: lambda error: f"the organization has {error.most} endpoints already",
        EndpointDisabled: "the endpoint is switched off",
        AlreadyPending: "the message is on its way already",
    }
)
