"""What happens to every stored field when a subject is erased. Declared beside the models.

An app's ``policies.py`` calls ``policy`` once for each model, its own and those of packages that it
installs. Planner, executor, export, residual search, receipts and the map of Art. 30 GDPR read
these declarations and nothing else; ``manage.py check`` refuses what is missing or contradicts
itself.

    policy(
        "blog.Comment",
        links={"author": DELETE, "post": DELETE, "approved_by": Detach("Somebody else wrote it.")},
        loose=[Loose("quoted_email", kind="author", to="email", ignore_case=True, fate=DELETE)],
        personal=["text"],
        opaque=["created_at"],
    )
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from django.apps import apps
from django.db import models


@dataclass(frozen=True)
class Delete:
    """The row goes with the subject."""


@dataclass(frozen=True)
class Detach:
    """The row belongs to others and stays; only its link to the subject is cleared."""

    because: str


@dataclass(frozen=True)
class Anonymise:
    """The row stays, and the named fields are overwritten, in place of the person's data.

    ``values`` maps a field to its new value, which identifies nobody.
    """

    values: Mapping[str, Any]
    because: str


@dataclass(frozen=True)
class Keep:
    """The row stays as it is, link included.

    ``basis`` is the legal basis, such as ``Art. 17(3)(b) GDPR``. ``retention`` is how long after
    the erasure; None when the row identifies nobody any more. With ``since`` it counts from that
    field of the row instead: for rows that end by themselves, whoever is erased or not.
    """

    because: str
    basis: str
    retention: timedelta | None
    since: str = ""


Fate = Delete | Detach | Anonymise | Keep
DELETE = Delete()


@dataclass(frozen=True)
class Loose:
    """A reference without a foreign key: a column that holds a subject's key, or its address.

    ``field`` is the column, ``kind`` the kind of subject, and ``to`` the subject's field that it
    equals, the primary key unless said otherwise. With ``kind_field`` a column beside it names the
    kind, and ``kind`` says which value is meant; ``kind="*"`` declares it for every kind. ``where``
    takes the kind's queryset of subjects and returns a further condition on the loose rows.
    ``match`` finds rows by other means, such as inside a JSON document: it takes one subject's
    instance and returns the condition, and then ``to`` is of no account. With ``quoted`` the column
    is a text or a JSON document in which the subject's id stands somewhere; every row is read, so
    it is for small tables. ``index`` names an index
    that the model itself does not declare, since another package owns it; ``migrate`` makes it.
    """

    field: str
    kind: str
    fate: Fate
    to: str = "pk"
    ignore_case: bool = False
    kind_field: str = ""
    where: Callable[[Any], models.Q] | None = None
    match: Callable[[Any], models.Q] | None = None
    quoted: bool = False
    index: str = ""


@dataclass(frozen=True)
class Policy:
    """The declaration of one model."""

    label: str
    links: Mapping[str, Fate]
    loose: Sequence[Loose]
    personal: frozenset[str]
    secret: frozenset[str]
    opaque: frozenset[str]
    harmless: Mapping[str, str]
    nobody: str

    @property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.label)

    @property
    def fields(self) -> frozenset[str]:
        """Every field that is declared somehow, by name."""
        named = {one.field for one in self.loose} | {
            one.kind_field for one in self.loose if one.kind_field
        }
        plain = self.personal | self.secret | self.opaque | frozenset(self.harmless)
        return plain | frozenset(self.links) | named


_policies: dict[str, Policy] = {}
_changes = count(1)
_version = 0


def policy(
    label: str,
    *,
    links: Mapping[str, Fate] | None = None,
    loose: Sequence[Loose] = (),
    personal: Collection[str] = (),
    secret: Collection[str] = (),
    opaque: Collection[str] = (),
    harmless: Mapping[str, str] | None = None,
    nobody: str = "",
) -> None:
    """Declare what an erasure does to a model's rows, and which of its fields are personal.

    ``links`` maps a foreign key to its fate, ``loose`` lists references that have no foreign key.
    Each remaining field stands in one list: ``personal`` (exported, searched for, gone
    afterwards), ``secret`` (personal, but never exported: digests, hashes, tokens), or ``opaque``
    (says nothing about a person by itself: times, states, counters). ``harmless`` is for fields of
    rows that stay and that could hold anything, such as a JSON document: it maps each to the reason
    why it holds nothing about a person. A model that no link binds to any subject says in
    ``nobody`` why its rows are about nobody.
    """
    global _version
    _version = next(_changes)
    _policies[label.lower()] = Policy(
        label=label,
        links=dict(links or {}),
        loose=tuple(loose),
        personal=frozenset(personal),
        secret=frozenset(secret),
        opaque=frozenset(opaque),
        harmless=dict(harmless or {}),
        nobody=nobody,
    )


def policy_of(model: type[models.Model]) -> Policy | None:
    """Return a model's declaration; a proxy has that of the model it stands for."""
    concrete: Any = model._meta.concrete_model
    return _policies.get(concrete._meta.label_lower)


def version() -> int:
    """Return a number that changes whenever a declaration is added or replaced."""
    return _version


def declared() -> dict[type[models.Model], Policy]:
    """Return the declaration of each installed model that has one, by model, in label order."""
    return {found.model: found for found in all_policies()}


def all_policies() -> list[Policy]:
    """Return the declarations of installed models, in the order of their labels."""
    installed = {model._meta.label_lower for model in apps.get_models(include_auto_created=True)}
    return [found for label, found in sorted(_policies.items()) if label in installed]
