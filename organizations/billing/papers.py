"""What plans and receipts say about a subscription."""

import logging
from collections.abc import Collection
from uuid import UUID

from erasure import receipts
from erasure.models import DeletionRequest
from erasure.signing import InvalidReceipt
from erasure.subjects import Effect
from organizations.billing.models import BillingOrder, Subscription

logger = logging.getLogger("sexton.billing")

SYSTEM = "Stripe"


def tell_effect(organization_id: UUID) -> list[Effect]:
    """Return what the erasure of an organization does to its subscription, for its preview."""
    found = Subscription.objects.filter(organization_id=organization_id).first()
    if found is None:
        return []
    text = (
        f"subscription {found.subscription} is cancelled; the customer and the invoices stay "
        "there, kept by the controller under tax law"
    )
    return [Effect(SYSTEM, text)]


def tell_orders(ids: Collection[UUID]) -> dict[UUID, list[str]]:
    """Return what the receipts of organizations say about orders to cancel, as they stand."""
    found: dict[UUID, list[str]] = {}
    orders = BillingOrder.objects.filter(organization_id__in=ids, kind=BillingOrder.Kind.CANCEL)
    for order in orders.order_by("created_at", "id"):
        found.setdefault(order.organization_id, []).append(tell_order(order))
    return found


def tell_order(order: BillingOrder) -> str:
    """Return the line of a receipt about an order to cancel."""
    is_done = order.state == BillingOrder.State.CONFIRMED
    end = f"ended: {order.outcome}" if is_done else "is ordered to end"
    return f"{SYSTEM}: subscription {order.subscription} {end}"


def amend_receipt(order: BillingOrder) -> bool:
    """Have the receipt of a finished deletion say how an order to cancel has ended, in the caller's
    transaction; whether there is such a receipt.

    The organization's row, if it is still there, is locked: an erasure that is about to finish
    reads the order after this. A row that is not what was signed is left alone, since signing it
    would make the change look genuine.
    """
    rows = DeletionRequest.objects.select_for_update().filter(
        subject_kind="organization",
        subject_id=order.organization_id,
        state=DeletionRequest.State.COMPLETED,
    )
    request = rows.order_by("-generation").first()
    if request is None:
        return False
    try:
        receipts.forbid_changed(request)
    except (receipts.ReceiptMissing, InvalidReceipt):
        logger.error("a receipt cannot say what was cancelled", extra={"order": str(order.pk)})
        return False
    others = [line for line in request.told if order.subscription not in line]
    request.told = [*others, tell_order(order)]
    request.save(update_fields=["told"])
    receipts.sign_again(request)
    return True
