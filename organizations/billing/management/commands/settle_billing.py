"""``manage.py settle_billing``: what Stripe is still to do, and another try at it."""

import json as jsonlib
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from organizations.billing.alarms import look
from organizations.billing.carrying import carry_out_due
from organizations.billing.models import BillingOrder


class Command(BaseCommand):
    help = (
        "Lists the orders that Stripe has not confirmed. With --execute those that are due are "
        "tried first, with --all those too that wait for their next try. The worker does the same "
        "by itself. Exit codes: 0 nothing is open, 1 some are, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--execute", action="store_true", help="ask Stripe")
        parser.add_argument("--all", action="store_true", help="do not wait for the next try")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, execute: bool, all: bool, json: bool, **options: Any) -> None:  # noqa: A002
        confirmed = 0
        if execute:
            if all:
                BillingOrder.objects.open().update(retry_at=None)
            confirmed = carry_out_due(clock=timezone.now).confirmed
        rows = [_describe(order) for order in BillingOrder.objects.open().order_by("created_at")]
        alarm = look(timezone.now())
        if json:
            told = {"executed": execute, "confirmed": confirmed, "open": rows, "alarm": alarm}
            self.stdout.write(jsonlib.dumps(told))
        else:
            lines = [f"confirmed: {confirmed}"] if execute else []
            lines += [_spell(row) for row in rows] or ["Nothing is open."]
            self.stdout.write("\n".join([*lines, alarm] if alarm else lines))
        if rows:
            raise SystemExit(1)


def _describe(order: BillingOrder) -> dict[str, Any]:
    return {
        "id": str(order.pk),
        "kind": order.kind,
        "subscription": order.subscription,
        "organization": str(order.organization_id),
        "ordered_at": order.created_at.isoformat(),
        "attempts": order.attempts,
        "retry_at": order.retry_at.isoformat() if order.retry_at else None,
        "last_error": order.last_error,
    }


def _spell(row: dict[str, Any]) -> str:
    why = f": {row['last_error']}" if row["last_error"] else ""
    return f"{row['kind']} {row['subscription']}, tried {row['attempts']} times{why}"
