"""Who would be told of an erasure, for those who look before it."""

from uuid import UUID

from erasure.subjects import Effect
from organizations.webhooks.events import LAST_OF
from organizations.webhooks.reach import find_receivers


def foresee_told(kind: str, subject_id: UUID) -> list[Effect]:
    """Return whom the last event about a subject would be sent to, counted: recipients of the whole
    instance, and endpoints of organizations."""
    event = LAST_OF[kind]
    receivers = find_receivers(event, kind, [subject_id]).get(subject_id, [])
    wide = sum(one.organization_id is None for one in receivers)
    effects = []
    if wide:
        noun = "recipient is" if wide == 1 else "recipients are"
        effects.append(Effect("webhooks", f"{wide} {noun} told to erase it, too ({event})"))
    if others := len(receivers) - wide:
        noun = "endpoint of an organization is" if others == 1 else "endpoints are"
        effects.append(Effect("webhooks", f"{others} {noun} told ({event})"))
    return effects
