"""The map of what happens to every stored field, read from the policies.

It is the part of the record of processing activities (Art. 30 GDPR) that a database can give:
whose data, which, what becomes of it, and on what ground something stays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from erasure.checks import concrete_models
from erasure.closure import Closure, closure_of
from erasure.graph import Edge, Model, Way
from erasure.policies import Anonymise, Delete, Detach, Fate, Keep, Policy, policy_of
from erasure.subjects import kind_names

OWN_ROW = "its own row"
OUTCOMES = {Delete: "deleted", Detach: "detached", Anonymise: "anonymised", Keep: "kept"}


@dataclass(frozen=True)
class Rule:
    """What becomes of rows when a subject of some kinds is erased, and by which columns they are
    found. ``parents`` are the models that lead to them; empty for the subject itself."""

    subjects: tuple[str, ...]
    through: tuple[str, ...]
    parents: tuple[str, ...]
    outcome: str
    because: str = ""
    basis: str = ""
    retention: str = ""
    overwritten: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One model: its fields by what they say about a person, and what becomes of its rows."""

    label: str
    name: str
    personal: tuple[str, ...]
    secret: tuple[str, ...]
    harmless: dict[str, str]
    rules: tuple[Rule, ...]
    nobody: str


def read_map() -> list[Entry]:
    """Return every installed model in the order of labels; one without a policy has no entry."""
    closures = {name: closure_of(name) for name in kind_names()}
    models = sorted(concrete_models(), key=lambda one: one._meta.label)
    return [describe(model, policy, closures) for model in models if (policy := policy_of(model))]


def describe(model: Model, policy: Policy, closures: dict[str, Closure]) -> Entry:
    """Return the entry of one model, given the closures of all kinds of subjects."""
    return Entry(
        label=model._meta.label,
        name=str(model._meta.verbose_name_plural),
        personal=tuple(sorted(policy.personal)),
        secret=tuple(sorted(policy.secret)),
        harmless=dict(policy.harmless),
        rules=tuple(_join_rules(_rules(model, closures))),
        nobody=policy.nobody,
    )


def _rules(model: Model, closures: dict[str, Closure]) -> Iterator[Rule]:
    """Yield a rule for each kind of subject and each column."""
    for kind, closure in closures.items():
        graph = closure.graph
        if model is graph.root:
            yield Rule((kind,), (OWN_ROW,), (), "deleted")
        for way in graph.ways.get(model, ()):
            yield _rule(kind, graph.root, way, Delete())
        for touched in graph.touched:
            if touched.model is model:
                for way in touched.ways:
                    yield _rule(kind, graph.root, way, touched.fate)


def _join_rules(rules: Iterable[Rule]) -> list[Rule]:
    """Return one rule for all columns and kinds that share everything else."""
    by_column: dict[Rule, list[str]] = {}
    for rule in rules:
        by_column.setdefault(replace(rule, subjects=()), []).extend(rule.subjects)
    by_fate: dict[Rule, list[Rule]] = {}
    for rule, kinds in by_column.items():
        plain = replace(rule, subjects=tuple(kinds), through=(), parents=())
        by_fate.setdefault(plain, []).append(rule)
    return [
        replace(
            plain,
            through=tuple(name for one in many for name in one.through),
            parents=tuple(sorted({name for one in many for name in one.parents})),
        )
        for plain, many in by_fate.items()
    ]


def _rule(kind: str, root: Model, way: Way, fate: Fate) -> Rule:
    kept = fate if isinstance(fate, Keep) else None
    is_child = isinstance(way, Edge) and way.parent is not root
    return Rule(
        subjects=(kind,),
        through=(_through(root, way),),
        parents=(way.parent._meta.label,) if is_child and isinstance(way, Edge) else (),
        outcome=OUTCOMES[type(fate)],
        because="" if isinstance(fate, Delete) else fate.because,
        basis=kept.basis if kept else "",
        retention=tell_retention(kept.retention, kept.since) if kept else "",
        overwritten=tuple(sorted(fate.values)) if isinstance(fate, Anonymise) else (),
    )


def _through(root: Model, way: Way) -> str:
    if isinstance(way, Edge):
        name = str(way.child_field.name)
        return name if way.parent is root else f"{name} ({way.parent._meta.label})"
    loose = way.loose
    if loose.match or loose.quoted:
        return f"a mention in {loose.field}"
    named = f" with {loose.kind_field}" if loose.kind_field else ""
    target = "" if loose.to == "pk" else f" = {loose.to}"
    return f"{loose.field}{named}{target}"


def tell_retention(retention: timedelta | None, since: str = "") -> str:
    """Return in words how long rows are kept, after an erasure or since their own end."""
    if retention is None:
        return "for good: it identifies nobody any more"
    years, days = divmod(retention.days, 365)
    from_then = f" from {since} on" if since else ""
    if years and not days:
        return f"for {years} year{'' if years == 1 else 's'}{from_then}"
    return f"for {retention.days} days{from_then}"
