"""Decisions of staff are forgotten some time after they have ended, whoever was erased or not."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from uuid_utils.compat import uuid7

from erasure import ended
from erasure.clocks import sweep
from erasure.models import BulkErasure, LegalHold, Pause
from tests.bystanders import charlie_untouched, read_rows
from tests.erasure.clockwork import DAY

pytestmark = pytest.mark.django_db

KEPT = 3 * 365 * DAY


def ago(span: timedelta) -> Any:
    return timezone.now() - span


def hold(released: timedelta | None) -> LegalHold:
    return LegalHold.objects.create(
        subject_kind="user",
        subject_id=uuid7(),
        reason="A lawsuit.",
        placed_at=ago(9 * KEPT),
        released_at=ago(released) if released else None,
    )


def pause(released: timedelta | None) -> Pause:
    return Pause.objects.create(
        reason="x", placed_at=ago(9 * KEPT), released_at=ago(released) if released else None
    )


def bulk(state: str, decided: timedelta | None) -> BulkErasure:
    return BulkErasure.objects.create(
        state=state,
        reference="CASE-1",
        subjects=[["user", str(uuid7())]],
        size=1,
        proposed_by_id=uuid7(),
        proposed_at=ago(9 * KEPT),
        decided_at=ago(decided) if decided else None,
    )


def remaining(*rows: Any) -> list[bool]:
    return [type(row).objects.filter(pk=row.pk).exists() for row in rows]


def test_what_ended_long_ago_goes_and_what_stands_or_ended_lately_stays() -> None:
    old, young = KEPT + DAY, KEPT - DAY
    with charlie_untouched():
        gone = hold(old), pause(old), bulk("approved", old), bulk("rejected", old)
        stays = (hold(young), hold(None), pause(young), pause(None), bulk("approved", young))
        waiting = bulk("proposed", None)
        before = read_rows()
        told = sweep(now=timezone.now(), execute=False).done["retention"]
        assert read_rows() == before
        assert sweep(now=timezone.now(), execute=True).done["retention"] == told
    assert told == {"erasure.BulkErasure": 2, "erasure.LegalHold": 1, "erasure.Pause": 1}
    assert remaining(*gone) == [False] * 4
    assert remaining(*stays, waiting) == [True] * 6


def test_many_go_in_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "ROWS", 2)
    for _ in range(5):
        pause(KEPT + DAY)
    assert ended.forget_ended(now=timezone.now(), execute=True) == {"erasure.Pause": 5}
