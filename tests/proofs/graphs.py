"""Graphs of people, organizations and everything that can hang on them, made at random from what
introspection finds. The same seed makes the same graph; only the keys of rows differ."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import models
from uuid_utils.compat import uuid4

from accounts.models import User
from organizations.models import ManagedUser, Membership, Organization
from tests.bystanders import SEALED

BY_HAND = {
    "accounts.User",
    "organizations.Organization",
    "organizations.Membership",
    "organizations.ManagedUser",
}
GIVEN = {"auth.Permission", "contenttypes.ContentType", "sites.Site"}
"""Tables that a migration fills and that say nothing about anybody."""

TYPES = [
    ("accounts", "user"),
    ("accounts", "deleteduser"),
    ("organizations", "organization"),
    ("organizations", "membership"),
    ("auth", "group"),
]
START = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Graph:
    """One graph among others: those of its people and organizations that may be erased. Its keeper
    stays, so that no organization is left without an owner."""

    seed: str
    rng: random.Random
    keeper: User
    users: list[User] = field(default_factory=list)
    organizations: list[Organization] = field(default_factory=list)


class World:
    """Graphs that grow in one database, loosely joined with one another."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)
        self.name = seed
        self.graphs: list[Graph] = []
        self.rows: dict[type[models.Model], list[Any]] = defaultdict(list)
        self.taken: set[tuple[Any, ...]] = set()
        self.number = 0
        self.makers: dict[type[Any], Callable[[], Any]] = {
            models.UUIDField: lambda: self._someone() if self.rng.random() < 0.9 else uuid4(),
            models.DateTimeField: self._time,
            models.DateField: lambda: self._time().date(),
            models.BooleanField: lambda: self.rng.random() < 0.5,
            models.IntegerField: lambda: self.rng.randint(1, 100),
            models.JSONField: lambda: {"about": [str(self._someone())], "n": self.rng.random()},
            models.BinaryField: lambda: self.rng.randbytes(16),
        }
        self.types = [ContentType.objects.get_by_natural_key(*one) for one in TYPES]

    def grow(self, seeds: list[str]) -> list[Graph]:
        """Add graphs, and then rows of every model that there is."""
        for seed in seeds:
            self._add_graph(seed)
        self._save(User, Organization)
        for graph in self.graphs:
            self._join(graph)
        self._save(Membership, ManagedUser)
        for model in self._others():
            for _ in range(self.rng.randint(1, 3) * len(self.graphs)):
                self._make(model)
            self._save(model)
        return self.graphs

    def _others(self) -> list[type[models.Model]]:
        """Return the remaining models, parents before children."""
        found: list[type[models.Model]] = []
        for model in apps.get_models(include_auto_created=True):
            self._add_after_parents(model, found)
        return found

    def _add_after_parents(
        self, model: type[models.Model], found: list[type[models.Model]]
    ) -> None:
        label = model._meta.label
        if model._meta.proxy or model in found or label in GIVEN | BY_HAND:
            return
        for it in model._meta.concrete_fields:
            if it.remote_field is not None and it.remote_field.model is not model:
                self._add_after_parents(it.remote_field.model, found)
        found.append(model)

    def _save(self, *wanted: type[models.Model]) -> None:
        for model in wanted:
            new = [row for row in self.rows[model] if row._state.adding]
            model._base_manager.bulk_create(new)

    # --- people and organizations -------------------------------------------------------------

    def _add_graph(self, seed: str) -> None:
        rng = random.Random(seed)
        graph = Graph(seed, rng, self._add_user(rng, is_keeper=True))
        graph.users = [self._add_user(rng) for _ in range(rng.randint(2, 6))]
        for _ in range(rng.randint(1, 3)):
            number = self._count()
            row = Organization(
                name=f"Organization {number}", slug=f"o{number}", created_at=self._time()
            )
            self.rows[Organization].append(row)
            graph.organizations.append(row)
        self.graphs.append(graph)

    def _add_user(self, rng: random.Random, *, is_keeper: bool = False) -> User:
        number = self._count()
        people = self.rows[User]
        is_deleted = not is_keeper and rng.random() < 0.3
        email = f"Person{number}@example.com"
        if people and is_deleted and rng.random() < 0.5:
            email = rng.choice(people).email.swapcase()
        if rng.random() < 0.1:
            email = ""
        user = User(
            username=f"person{number}",
            email=email,
            name=f"Person {number}",
            password="!",
            is_deleted=is_deleted,
            is_active=not is_deleted,
            deleted_at=self._time() if is_deleted else None,
            is_staff=rng.random() < 0.2,
            date_joined=self._time(),
        )
        people.append(user)
        return user

    def _join(self, graph: Graph) -> None:
        """Give organizations their members, and some users an organization that manages them."""
        rng = graph.rng
        for one in graph.organizations:
            self._member(graph.keeper, one, "owner")
            for _ in range(rng.randint(0, 5)):
                user = rng.choice(self._near(graph, "users"))
                self._member(user, one, rng.choice(["owner", "admin", "member", "member"]))
        for user in graph.users:
            if rng.random() < 0.3:
                one = rng.choice(self._near(graph, "organizations"))
                row = ManagedUser(
                    organization=one,
                    user=user,
                    external_id=f"x{self._count()}",
                    created_at=self._time(),
                )
                self.rows[ManagedUser].append(row)

    def _near(self, graph: Graph, what: str) -> list[Any]:
        """Return people or organizations of this graph, sometimes of another one."""
        other = graph.rng.choice(self.graphs) if graph.rng.random() < 0.2 else graph
        found: list[Any] = getattr(other, what)
        return found

    def _member(self, user: User, one: Organization, role: str) -> None:
        if self._is_new(Membership, (user.pk, one.pk)):
            row = Membership(user=user, organization=one, role=role, joined_at=self._time())
            self.rows[Membership].append(row)

    # --- everything else ------------------------------------------------------------------------

    def _make(self, model: type[models.Model]) -> None:
        fields = [it for it in model._meta.concrete_fields if not isinstance(it, models.AutoField)]
        values = {it.name: self._value(it) for it in fields}
        self._settle(model._meta.label, values)
        if not all(self._is_new(model, one) for one in _unique_values(model, values)):
            return
        self.rows[model].append(model(**values))

    def _settle(self, label: str, values: dict[str, Any]) -> None:
        """Make a row such as the service writes."""
        rng = self.rng
        if label == "apikeys.ApiKey":
            values["user" if rng.random() < 0.5 else "organization"] = None
            if values["user"] is None and values["organization"] is None:
                values["user"] = rng.choice(self.rows[User])
            if values["user"] is not None and values["organization"] is not None:
                values["user"] = None
        elif label == "erasure.DeletionRequest":
            # Open ones are planted where a subject is erased; one here would be due or in the way.
            values["state"] = rng.choice(["completed", "cancelled"])
            values["subject_kind"] = rng.choice(["user", "organization"])
            values["lease_until"] = values["lease_token"] = values["retry_at"] = None
        elif label in {"erasure.LegalHold", "erasure.Pause"}:
            values["released_at"] = self._time()
            if label == "erasure.LegalHold":
                values["subject_kind"] = rng.choice(["user", "organization"])
                if rng.random() < 0.3:
                    values["subject_kind"] = "user"
                    values["subject_id"] = rng.choice(self.graphs).keeper.pk
                    values["released_at"] = None
        elif label == "admin.LogEntry":
            values["object_id"] = str(self._someone())
        elif label == "organizations.Invitation" and rng.random() < 0.7:
            email = str(rng.choice(self.rows[User]).email)
            values["email"] = rng.choice([email, email.lower(), email.upper()])

    def _value(self, it: Any) -> Any:
        rng = self.rng
        if isinstance(it, models.ForeignKey):
            return self._related(it)
        if it.primary_key and it.has_default():
            return it.get_default()
        if it.choices:
            return rng.choice([value for value, _ in it.flatchoices])
        if it.name in SEALED:
            return None
        if it.null and rng.random() < 0.3:
            return None
        for kind, make in self.makers.items():
            if isinstance(it, kind):
                return make()
        return self._text(it.max_length)

    def _text(self, longest: int | None) -> str:
        """Return a text that nobody else has. Some speak of people, which binds them to nobody."""
        text = f"{self._count()}."
        if self.rng.random() < 0.3:
            text += f"{self._someone()} {self.rng.choice(self.rows[User]).email} 'ü"
        return text[:longest]

    def _related(self, it: Any) -> Any:
        if it.null and self.rng.random() < 0.3:
            return None
        model = it.remote_field.model
        if model is ContentType:
            return self.rng.choice(self.types)
        if model._meta.label in GIVEN:
            return self.rng.choice(model._base_manager.all()[:20])
        return self.rng.choice(self.rows[model])

    def _someone(self) -> UUID:
        kind = User if self.rng.random() < 0.7 else Organization
        pk: UUID = self.rng.choice(self.rows[kind]).pk
        return pk

    def _is_new(self, model: type[models.Model], values: tuple[Any, ...]) -> bool:
        key = (model, *values)
        is_new = key not in self.taken
        self.taken.add(key)
        return is_new

    def _time(self) -> datetime:
        return START + timedelta(microseconds=self.rng.randrange(10**13))

    def _count(self) -> int:
        self.number += 1
        return self.number


def _unique_values(model: type[models.Model], values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what a row must share with no other."""
    together = [tuple(it.fields) for it in model._meta.total_unique_constraints]
    together += map(tuple, model._meta.unique_together)
    single = [(it.name,) for it in model._meta.concrete_fields if it.unique and it.name in values]
    return [
        (names, *(getattr(values[name], "pk", values[name]) for name in names))
        for names in [*together, *single]
    ]
