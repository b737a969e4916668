"""Why something was refused, in plain words for staff. Each app adds the words of its own."""

from collections.abc import Callable, Mapping
from typing import Any

from erasure.desk.shown import show_id, show_span, show_time
from erasure.exceptions import (
    ActorGone,
    Blocked,
    DeletionInProgress,
    GraceExpired,
    LedgerUnavailable,
    NotRestorable,
    OwnersGone,
    Paused,
    PlanDrifted,
    RightMissing,
    SecondPersonNeeded,
    SubjectNotFound,
    TakenAlong,
    UnderLegalHold,
)

Words = str | Callable[[Any], str]

_words: dict[type[Exception], Words] = {}


def put_into_words(words: Mapping[type[Exception], Words]) -> None:
    """Register how refusals read: a text, or a function from the exception to one.

    A text completes the sentence "nothing was done: …" and ends without a full stop.
    """
    _words.update(words)


def has_words(error: type[Exception]) -> bool:
    """Whether staff are told what an exception means; the others are defects, for the log."""
    return error in _words


def explain(error: Exception) -> str:
    """Return a refusal in plain words, for the member of staff who ran into it."""
    told = _words.get(type(error), type(error).__name__)
    return f"nothing was done: {told(error) if callable(told) else told}."


put_into_words(
    {
        RightMissing: lambda error: f"you lack the permission {error.right}",
        SubjectNotFound: lambda error: f"there is no such {error.kind} any more",
        ActorGone: "its owner is deleted or inactive",
        UnderLegalHold: "a legal hold forbids it. Release the hold first",
        DeletionInProgress: "another deletion of it is running. Try again in a moment",
        NotRestorable: "there is no scheduled deletion to undo",
        OwnersGone: "none of its owners is left. Restore or let in one of them first",
        Blocked: lambda error: "; ".join(it.text.rstrip(".") for it in error.blockers),
        PlanDrifted: lambda error: (
            "more or other data is there than the page showed. Look again: "
            + "; ".join(text.rstrip(".") for text in error.drift)
        ),
        Paused: lambda error: f"erasure is paused: {error.reason.rstrip('.')}",
        SecondPersonNeeded: lambda error: (
            f"you have had {error.done} subjects erased within {show_span(error.window)}, and more "
            f"than {error.limit} take a second person. Choose it again to propose it"
        ),
        LedgerUnavailable: "the ledger could not be written. Try again in a moment",
        TakenAlong: lambda error: (
            f"it came with the deletion of {show_id(error.taker.kind, error.taker.id)}, and comes "
            "back with it only"
        ),
        GraceExpired: lambda error: f"the time to restore it ended on {show_time(error.due_at)}",
    }
)
