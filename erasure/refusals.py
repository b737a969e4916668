"""Why something was refused, in plain words, for the desk and for the shell alike. Each app adds
the words of its own in a module ``refusals`` beside its models."""

from collections.abc import Callable, Mapping
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format

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
from erasure.references import spell

Words = str | Callable[[Any], str]

_words: dict[type[Exception], Words] = {}


def put_into_words(words: Mapping[type[Exception], Words]) -> None:
    """Register how refusals read: a text, or a function from the exception to one.

    A text completes the sentence "nothing was done: …" and ends without a full stop.
    """
    _words.update(words)


def has_words(error: type[Exception]) -> bool:
    """Whether people are told what an exception means; the others are defects, for the log."""
    return error in _words


def tell_refusal(error: Exception) -> str:
    """Return why something was refused; of what has no words, the error's type."""
    told = _words.get(type(error), type(error).__name__)
    return told(error) if callable(told) else told


def _list(texts: Any) -> str:
    return "; ".join(text.rstrip(".") for text in texts)


put_into_words(
    {
        RightMissing: lambda error: f"you lack the permission {error.right}",
        SecondPersonNeeded: lambda error: (
            f"you have had {error.done} subjects erased within "
            f"{error.window.total_seconds() / 3600:.0f} hours, and more than {error.limit} take a "
            "second person. Choose it again to propose it"
        ),
        SubjectNotFound: lambda error: f"there is no such {error.kind} any more",
        ActorGone: "its owner is deleted or inactive",
        UnderLegalHold: "a legal hold forbids it. Release the hold first",
        DeletionInProgress: "another deletion of it is running. Try again in a moment",
        NotRestorable: "there is no scheduled deletion to undo",
        OwnersGone: "none of its owners is left. Restore or let in one of them first",
        Blocked: lambda error: (
            f"first must be settled: {_list(blocker.text for blocker in error.blockers)}"
        ),
        PlanDrifted: lambda error: (
            f"it is no longer what the plan says. Look again: {_list(error.drift)}"
        ),
        Paused: lambda error: f"erasure is paused: {error.reason.rstrip('.')}",
        LedgerUnavailable: lambda error: (
            f"the ledger cannot be written: {error.reason.rstrip('.')}. Try again in a moment"
        ),
        TakenAlong: lambda error: (
            f"it came with the deletion of {error.taker.kind} {spell(error.taker)}, and comes back "
            "with it only"
        ),
        GraceExpired: lambda error: (
            "the time to restore it ended on "
            + date_format(timezone.localtime(error.due_at), "j M Y, H:i")
        ),
    }
)
