"""A deletion's story is told from rows that a test makes: nothing here reads the database."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from audit.events import Reference
from audit.models import AuditEvent
from erasure.desk.story import Chapter, Sources, tell_story
from erasure.models import DeletionRequest, LegalHold
from erasure.references import spell

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ALICE = uuid7()
STAFF = uuid7()


def request(**fields: Any) -> DeletionRequest:
    given = {
        "subject_kind": "user",
        "subject_id": ALICE,
        "channel": "DELETE /v1/user/{user_id}",
        "requested_by_kind": "user",
        "requested_by_id": ALICE,
        "requested_at": NOON,
        "due_at": NOON + 14 * DAY,
    }
    return DeletionRequest(**{**given, **fields})


def event(action: str, at: datetime, **fields: Any) -> AuditEvent:
    given = {"actor_kind": "user", "actor_id": STAFF, "channel": "admin", "facts": {}}
    return AuditEvent(
        action=action, at=at, subject_kind="user", subject_id=ALICE, **{**given, **fields}
    )


def tell(sources: Sources, *, now: datetime = NOON + DAY) -> list[Chapter]:
    return tell_story(sources, now=now)


def titles(chapters: list[Chapter]) -> list[str]:
    return [chapter.title for chapter in chapters]


def words(chapter: Chapter) -> str:
    return " ".join(chapter.lines)


def test_who_asked_through_what_and_for_which_case_comes_first() -> None:
    story = tell(Sources(request(reference="CASE-7", generation=2)))
    assert story[0].title == "The deletion was asked for"
    assert story[0].at == NOON
    assert "By the user, through DELETE /v1/user/{user_id}." in words(story[0])
    assert "Case CASE-7." in words(story[0])
    assert "deletion number 2" in words(story[0])


def test_somebody_else_who_asked_is_named_by_id() -> None:
    story = tell(Sources(request(requested_by_id=STAFF)))
    assert spell(Reference("user", STAFF)) in words(story[0])


def test_what_comes_next_is_the_last_word() -> None:
    story = tell(Sources(request()))
    assert story[-1].at is None
    assert story[-1].tone == "ahead"
    assert "Erased on 15 Mar 2026, in 13 days." in words(story[-1])
    assert "Until 15 Mar 2026, 12:00 it can be restored." in words(story[-1])


def test_a_pause_and_how_long_it_has_been_due_are_told() -> None:
    story = tell(Sources(request(), paused="Ledger is being moved."), now=NOON + 17 * DAY)
    assert "It has been due for 3 days." in words(story[-1])
    assert "Erasure is paused: Ledger is being moved." in words(story[-1])


def test_what_was_planned_names_rows_plainly() -> None:
    planned = {"removed": {"accounts.User": 1, "apikeys.ApiKey": 1200}, "kept": [], "blockers": []}
    story = tell(Sources(request(planned=planned, plan_id="plan_" + "a" * 64)))
    assert titles(story)[:2] == ["The deletion was asked for", "What would go was looked at"]
    assert story[1].rows == (("user", "1"), ("API keys", "1\u2009200"))
    assert "plan_aaaaaaaaaaaa…" in words(story[1])


def test_chapters_stand_in_the_order_of_their_moments() -> None:
    hold = LegalHold(
        subject_kind="user",
        subject_id=ALICE,
        reason="Dispute 9",
        placed_at=NOON + 2 * DAY,
        placed_by_id=STAFF,
        review_at=date(2026, 4, 1),
        released_at=NOON + 5 * DAY,
        released_by_id=STAFF,
    )
    events = [
        event("user.deleted", NOON, facts={"deletion": "x"}),
        event("deletion.retried", NOON + 3 * DAY, facts={"attempts": 2}),
    ]
    story = tell(Sources(request(), events=events, holds=[hold]), now=NOON + 6 * DAY)
    assert titles(story) == [
        "The deletion was asked for",
        "Access was taken away",
        "A legal hold was placed",
        "Another attempt was asked for",
        "The legal hold was released",
        "What comes next",
    ]
    placed = story[2]
    assert "Dispute 9." in placed.lines
    assert "To be looked at again on 1 Apr 2026." in placed.lines
    assert spell(Reference("user", STAFF)) in words(placed)
    assert "Attempts: 2." in words(story[3])


def test_a_standing_hold_decides_what_comes_next() -> None:
    hold = LegalHold(
        subject_kind="user", subject_id=ALICE, reason="Dispute 9", placed_at=NOON + DAY
    )
    story = tell(Sources(request(), holds=[hold]), now=NOON + 20 * DAY)
    assert "On legal hold: stays until the hold is released." in words(story[-1])
    assert "has been due" not in words(story[-1])


def test_failed_attempts_are_told_and_never_swallowed() -> None:
    failed = request(
        state="failed",
        attempts=3,
        last_error="OperationalError in execute",
        retry_at=NOON + 16 * DAY,
    )
    story = tell(Sources(failed), now=NOON + 15 * DAY)
    assert story[-2].title == "3 attempts failed"
    assert story[-2].tone == "bad"
    assert "OperationalError in execute" in words(story[-2])
    assert "next try at 17 Mar 2026" in words(story[-1])


def test_a_finished_erasure_says_what_went_what_stays_and_why() -> None:
    statement = {
        "kept": [
            {
                "rows": "audit.AuditEvent",
                "because": "It says that it happened",
                "basis": "Art. 17(3)(b) GDPR",
                "retention_days": None,
            }
        ]
    }
    done = request(
        state="completed",
        finished_at=NOON + 14 * DAY,
        attempts=2,
        counts={"accounts.User": 1, "accounts.Session": 2},
        told=["e-mail"],
        signature=b"s",
    )
    sources = Sources(
        done,
        events=[event("user.erased", NOON + 14 * DAY, facts={"reference": "CASE-8"})],
        statement=statement,
        backups_until=NOON + 44 * DAY,
    )
    story = tell(sources, now=NOON + 15 * DAY)
    erased = story[-2]
    assert erased.title == "The data was erased"
    assert erased.rows == (("user", "1"), ("sessions", "2"))
    for said in (
        "through admin",
        "Case CASE-8.",
        "It took 2 attempts.",
        "3 rows removed, as the database counted them.",
        "Told: e-mail.",
        "A signed receipt states all this.",
    ):
        assert said in words(erased)
    assert erased.kept[0][0] == "audit events"
    assert "Art. 17(3)(b) GDPR, for good: it names nobody any more" in erased.kept[0][1]
    assert "Backups may hold the data until 14 Apr 2026" in words(story[-1])
    later = tell(sources, now=NOON + 60 * DAY)
    assert later[-1].title == "Nothing: it is done"


def test_a_restored_one_is_back() -> None:
    back = request(state="cancelled", finished_at=NOON + DAY)
    story = tell(Sources(back, events=[event("user.restored", NOON + DAY)]))
    assert story[-2].title == "The deletion was taken back"
    assert story[-1].title == "Nothing: the subject is back"


def test_events_that_nobody_foresaw_are_told_in_their_own_words() -> None:
    odd = event("wind.turned", NOON + DAY, outcome="failed", facts={"wind": "west"})
    later = [event("user.exported", NOON + 2 * DAY), event("user.searched", NOON + 3 * DAY)]
    story = tell(Sources(request(), events=[odd, *later]))
    assert story[1].title == "Wind: turned"
    assert story[1].tone == "bad"
    assert "Wind: west." in words(story[1])
    assert story[2].title == "A copy of the data was made"
    assert story[3].title == "Leftovers were searched for"
