"""Recipients of the whole instance: to whom personal data was disclosed, and who are told of each
erasure (Art. 19 GDPR). What they answer is stated by the receipt."""

from datetime import UTC, datetime

from audit.actors import Actor
from erasure.models import DeletionRequest
from erasure.notified import Recipient, write_told
from erasure.typeids import spell_id
from organizations.webhooks.events import LAST_OF
from organizations.webhooks.models import Delivery, Endpoint

STATE = Delivery.State
ENDPOINT = "whk"


def note(delivery: Delivery, *, now: datetime) -> None:
    """Have the receipt say that a recipient of the whole instance acknowledged an erasure, or could
    not be told of it. In the transaction that ends the delivery; for any other delivery nothing."""
    message, endpoint = delivery.message, delivery.endpoint
    is_last = message.type in LAST_OF.values() and message.deletion_id is not None
    if endpoint is None or endpoint.organization_id is not None or not is_last:
        return
    deletion_id = message.deletion_id
    assert deletion_id is not None  # noqa: S101 - for the type checker
    succeeded = delivery.state == STATE.DELIVERED
    write_told(
        deletion_id,
        f"{name_of(endpoint)}: {_tell(delivery, at=now)}",
        recipient=spell_id(ENDPOINT, endpoint.pk),
        succeeded=succeeded,
        actor=Actor.system("webhooks"),
        now=now,
    )


def tell_of(request: DeletionRequest) -> list[Recipient]:
    """Return which recipients of the whole instance are told of a deletion, and how far each is."""
    event = LAST_OF.get(request.subject_kind)
    if event is None:
        return []
    rows = Delivery.objects.filter(
        message__deletion_id=request.pk,
        message__subject_id=request.subject_id,
        message__type=event,
        endpoint__isnull=False,
        endpoint__organization=None,
    )
    found = rows.select_related("endpoint").order_by("created_at", "pk")
    return [_describe(one) for one in found if one.endpoint is not None]


def name_of(endpoint: Endpoint) -> str:
    """Return how a receipt names a recipient: by what staff call it, and by its id."""
    shown = spell_id(ENDPOINT, endpoint.pk)
    return f"{endpoint.name} ({shown})" if endpoint.name else shown


def _describe(delivery: Delivery) -> Recipient:
    assert delivery.endpoint is not None  # noqa: S101 - for the type checker
    state = {STATE.DELIVERED: "acknowledged", STATE.DEAD: "failed"}.get(
        STATE(delivery.state), "waiting"
    )
    return Recipient(
        name=name_of(delivery.endpoint),
        state=state,
        at=delivery.finished_at or delivery.created_at,
        text=_tell(delivery, at=delivery.finished_at),
    )


def _tell(delivery: Delivery, *, at: datetime | None) -> str:
    when = f" on {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at else ""
    tries = "1 try" if delivery.attempts == 1 else f"{delivery.attempts} tries"
    if delivery.state == STATE.DELIVERED:
        return f"acknowledged{when}"
    if delivery.state == STATE.DEAD:
        return f"not reached, given up{when} after {tries} ({delivery.last_error})"
    if not delivery.attempts:
        return "is told next"
    return f"has not answered yet, after {tries} ({delivery.last_error})"
