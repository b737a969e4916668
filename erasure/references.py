"""How a subject is spelled: ``usr_…`` where its kind has a prefix, the bare id otherwise."""

from uuid import UUID

from audit.events import Reference
from erasure.subjects import SubjectKind, get_kind, kind_names
from erasure.typeids import read_id, read_uuid, spell_id


def spell(subject: Reference) -> str:
    """Return a subject's id as people read it; the bare id for a kind that nobody registered."""
    try:
        prefix = get_kind(subject.kind).prefix
    except KeyError:
        prefix = ""
    return spell_id(prefix, subject.id) if prefix else str(subject.id)


def read(text: str, kind: str | None = None) -> Reference | None:
    """Return the subject that a text names, or None when it names none.

    A bare id without ``kind`` is looked for among the rows of every kind, and the first kind that
    has it is meant.
    """
    text = text.strip()
    names = [kind] if kind else kind_names()
    if not (plain := read_uuid(text)):
        return next((found for name in names if (found := _read_typed(text, name))), None)
    if kind:
        return Reference(kind, plain)
    return next((Reference(name, plain) for name in names if _exists(get_kind(name), plain)), None)


def _read_typed(text: str, kind: str) -> Reference | None:
    prefix = get_kind(kind).prefix
    found = read_id(prefix, text) if prefix else None
    return Reference(kind, found) if found else None


def _exists(kind: SubjectKind, subject_id: UUID) -> bool:
    try:
        return kind.model._base_manager.filter(pk=kind.pk_of(subject_id)).exists()
    except (OverflowError, ValueError):
        return False
