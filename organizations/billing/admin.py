"""The staff's pages of billing: what organizations pay by, and what Stripe is still to do."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from erasure.desk.forms import PlainForm, ProposalForm
from erasure.desk.pages import Order, ReadOnlyAdmin
from erasure.desk.shown import show_id, show_span, show_time
from erasure.desk.staff import by_time, date_column, titled
from erasure.desk.steps import Concern, ConfirmedSteps, Step
from organizations.billing.carrying import CHANGE, retry_now, settle_by_hand
from organizations.billing.models import BillingOrder, Subscription


def _name(order: BillingOrder) -> str:
    return f"to {order.kind} {order.subscription}"


def _foresee(order: BillingOrder) -> Concern:
    if order.state != BillingOrder.State.OPEN:
        return Concern(order.pk, _name(order), [f"It is {order.state} already."])
    waits = show_span(timezone.now() - order.created_at)
    remarks = [f"It has waited for {waits}, and was tried {order.attempts} times."]
    if order.last_error:
        remarks.append(f"The last try ended with: {order.last_error}.")
    return Concern(order.pk, _name(order), remarks)


def _retry(order: Order) -> str:
    found = retry_now(actor=order.actor, order_id=order.id, now=order.now)
    return "is tried at once." if found else "nothing was done: it is not open any more."


def _settle(order: Order) -> str:
    found = settle_by_hand(
        actor=order.actor, order_id=order.id, reference=order.reference, now=order.now
    )
    return "settled by hand." if found else "nothing was done: it is not open any more."


RETRY = Step(
    slug="retry",
    permission=CHANGE,
    title="Try orders again",
    intro="A worker asks Stripe again now and does not wait for the next try. Twice does no harm.",
    button="Try again",
    form=PlainForm,
    foresee=_foresee,
    act=_retry,
)
SETTLE = Step(
    slug="settle",
    permission=CHANGE,
    title="Settle orders by hand",
    intro="Only when you have seen at Stripe that it is done, and no key of this service can reach "
    "the account. Stripe is not asked again, and the receipt says that it was settled by hand.",
    button="Settle by hand",
    form=ProposalForm,
    foresee=_foresee,
    act=_settle,
)


class BillingOrderAdmin(ConfirmedSteps, ReadOnlyAdmin):
    steps = (RETRY, SETTLE)
    actions = ("retry", "settle")
    list_display = (
        "kind",
        "subscription",
        "state",
        "next",
        date_column("created_at", "Ordered"),
        date_column("finished_at", "Ended"),
    )
    fields = (
        *list_display,
        "organization",
        "customer",
        "outcome",
        "attempts",
        "last_error",
        "idempotency_key",
    )
    list_filter = (
        "state",
        "kind",
        by_time("created_at", "time of ordering"),
    )
    list_per_page = 50
    id_columns = ("pk", "organization_id")
    search_fields = ("subscription", "customer")
    search_help_text = "A subscription, a customer, or an organization's id"

    def describe(self, row: BillingOrder) -> str:
        return _name(row)

    def has_change_step_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RETRY)

    def offers(self, row: BillingOrder, step: Step) -> bool:
        return row.state == BillingOrder.State.OPEN

    @admin.action(description="Try again…", permissions=["change_step"])
    def retry(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RETRY.slug, queryset)

    @admin.action(description="Settle by hand…", permissions=["change_step"])
    def settle(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, SETTLE.slug, queryset)

    @admin.display(description="Organization")
    def organization(self, order: BillingOrder) -> str:
        return show_id("organization", order.organization_id)

    @admin.display(description="What comes next", ordering="retry_at")
    def next(self, order: BillingOrder) -> str:
        if order.state != BillingOrder.State.OPEN:
            return "nothing"
        if order.lease_until and order.lease_until > timezone.now():
            return "being asked for now"
        at = f"tried at {show_time(order.retry_at)}" if order.retry_at else "tried at once"
        return f"{at}; last: {order.last_error}" if order.last_error else at


class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = (
        "subscription",
        "owner",
        "status",
        date_column("told_at", "As Stripe said"),
        date_column("created_at", "Attached"),
    )
    fields = (*list_display, "customer")
    list_filter = (titled("status", "state at Stripe", admin.AllValuesFieldListFilter),)
    list_per_page = 50
    id_columns = ("pk", "organization_id")
    search_fields = ("subscription", "customer")
    search_help_text = "A subscription, a customer, or an organization's id"

    def describe(self, row: Subscription) -> str:
        return row.subscription

    @admin.display(description="Organization", ordering="organization_id")
    def owner(self, subscription: Subscription) -> str:
        return show_id("organization", subscription.organization_id)


admin.site.register(BillingOrder, BillingOrderAdmin)
admin.site.register(Subscription, SubscriptionAdmin)
