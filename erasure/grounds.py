"""What a receipt says of the rows that stay: what they are, why, on which ground, for how long."""

from collections.abc import Iterator
from typing import Any

from django.db import models

from erasure.policies import DELETE, Anonymise, Detach, Fate, Keep, all_policies
from erasure.subjects import get_kind


def describe_grounds(kind: str) -> dict[str, list[dict[str, Any]]]:
    """Return ``kept``, ``detached`` and ``anonymised`` of a kind of subject, from the policies.

    The same for every subject of the kind, whether it has such rows or not.
    """
    grounds: dict[str, list[dict[str, Any]]] = {"kept": [], "detached": [], "anonymised": []}
    for label, fate in sorted(_fates(kind), key=lambda pair: (pair[0], repr(pair[1]))):
        if isinstance(fate, Keep):
            days = fate.retention.days if fate.retention is not None else None
            said: dict[str, Any] = {"basis": fate.basis, "retention_days": days}
            grounds["kept"].append({"rows": label, "because": fate.because, **said})
        elif isinstance(fate, Detach):
            grounds["detached"].append({"rows": label, "because": fate.because})
        elif isinstance(fate, Anonymise):
            said = {"fields": sorted(fate.values)}
            grounds["anonymised"].append({"rows": label, "because": fate.because, **said})
    return {name: _without_repeats(said) for name, said in grounds.items()}


def _fates(kind: str) -> Iterator[tuple[str, Fate]]:
    """Yield what is declared for rows that hang on a subject, or on a row that goes with it."""
    doomed = _doomed(kind)
    for policy in all_policies():
        for name, fate in policy.links.items():
            if _target(policy.model, name) in doomed:
                yield policy.label, fate
        for loose in policy.loose:
            if loose.kind in (kind, "*"):
                yield policy.label, loose.fate


def _doomed(kind: str) -> set[type[models.Model]]:
    """Return the models of rows that go with a subject of this kind."""
    doomed: set[type[models.Model]] = {get_kind(kind).model}
    while True:
        more = {
            policy.model
            for policy in all_policies()
            if policy.model not in doomed
            and (
                any(
                    fate == DELETE and _target(policy.model, name) in doomed
                    for name, fate in policy.links.items()
                )
                or any(one.fate == DELETE and one.kind in (kind, "*") for one in policy.loose)
            )
        }
        if not more:
            return doomed
        doomed |= more


def _target(model: type[models.Model], name: str) -> type[models.Model] | None:
    field: Any = model._meta.get_field(name)
    related = field.related_model
    return related._meta.concrete_model if related else None


def _without_repeats(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for place, one in enumerate(said) if one not in said[:place]]
