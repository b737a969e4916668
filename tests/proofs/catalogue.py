"""What the database's own catalogue says belongs to a subject, and every row as the database holds
it. Knows nothing of policies, planner or closure: what they do is judged by this."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connection

Key = tuple[str, str]
"""A table and a row's key, as the database spells it."""

Rows = dict[Key, str]
"""Each row as a JSON object of its columns."""

ROOTS = {"user": "accounts_user", "organization": "organizations_organization"}

PYTHON_SIDE = {("django_admin_log", "user_id"): "CASCADE"}
"""Foreign keys of Django's own tables, on which the database has no rule."""

CONTENT_TYPES = {
    "user": [("accounts", "user"), ("accounts", "deleteduser")],
    "organization": [("organizations", "organization")],
}

ERASED = {"reason": "Erased with its subject."}
OVERWRITTEN = {
    "django_admin_log": {"object_repr": "erased", "change_message": ""},
    "erasure_legalhold": ERASED,
    "erasure_pause": ERASED,
}
"""What rows that stay say afterwards."""

LOOSE_ROWS_THAT_GO = {
    "audit_eventdetail": "(person_id = {id} OR subject_id = {id})",
    "organizations_invitation": (
        "email <> '' AND lower(email) IN (SELECT lower(u.email) FROM accounts_user u"
        " WHERE u.id = {id}) AND NOT EXISTS (SELECT 1 FROM accounts_user o WHERE NOT o.is_deleted"
        " AND o.id NOT IN ({family}) AND lower(o.email) = lower(t.email))"
    ),
    "django_tasks_database_dbtaskresult": (
        "status <> 'RUNNING' AND replace(CAST(args_kwargs AS text), '-', '') LIKE {quoted}"
    ),
}
LOOSE_ROWS_THAT_STAY = {
    "django_admin_log": (
        "object_id = {text} AND content_type_id IN (SELECT c.id FROM django_content_type c"
        " WHERE {content_types})"
    ),
    "erasure_legalhold": "subject_kind = {kind} AND subject_id = {id}",
    "erasure_pause": "organization_id = {id}",
}
"""References without a foreign key, written down by hand, as conditions on a table ``t``."""


@dataclass(frozen=True)
class ForeignKey:
    child: str
    column: str
    parent: str
    rule: str


@dataclass
class Belongings:
    """What the catalogue says about one subject, or about a family of them: rows that go, columns
    that are cleared, and rows that are overwritten."""

    gone: set[Key] = field(default_factory=set)
    cleared: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    overwritten: set[Key] = field(default_factory=set)

    @property
    def counts(self) -> dict[str, int]:
        return count_by_table(self.gone)


def count_by_table(keys: Iterable[Key]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for table, _ in keys:
        counts[table] += 1
    return dict(counts)


class Catalogue:
    """The tables and foreign keys of the current database."""

    def __init__(self) -> None:
        self.is_sqlite = connection.vendor == "sqlite"
        self.columns = self._read_columns()
        self.keys = self._read_keys()
        self.foreign_keys = self._read_foreign_keys()

    # --- every row ------------------------------------------------------------------------------

    def read_rows(self) -> Rows:
        """Return every row of every table, as the database holds it, with one statement."""
        return {(table, key): text for table, key, text in self.ask(self._all_rows)}

    def open_row(self, text: str) -> dict[str, Any]:
        """Return a row's columns. In SQLite each value is the literal that stands for it."""
        row: dict[str, Any] = json.loads(text)
        return row

    def changed(self, text: str, values: Mapping[str, str | None]) -> dict[str, Any]:
        """Return what a row looks like with some columns changed."""
        return {**self.open_row(text), **{name: self._spell(it) for name, it in values.items()}}

    def _spell(self, value: str | None) -> str | None:
        if not self.is_sqlite:
            return value
        return "NULL" if value is None else f"'{value}'"

    # --- what belongs to whom -------------------------------------------------------------------

    def find_belongings(self, subjects: Mapping[str, Collection[UUID]]) -> Belongings:
        """Return what belongs to subjects that go together, given by kind."""
        found = Belongings()
        children = self._read_edges()
        users = {self._literal(pk) for pk in subjects.get("user", ())} or {"NULL"}
        for kind, ids in subjects.items():
            for pk in ids:
                self._add(found, (ROOTS[kind], self.spell_key(pk)), children)
                for key in self._find_loose(LOOSE_ROWS_THAT_GO, kind, pk, users):
                    self._add(found, key, children)
                found.overwritten |= self._find_loose(LOOSE_ROWS_THAT_STAY, kind, pk, users)
        found.overwritten -= found.gone
        for key in found.cleared.keys() & found.gone:
            del found.cleared[key]
        return found

    def spell_key(self, pk: UUID) -> str:
        return f"'{pk.hex}'" if self.is_sqlite else str(pk)

    def _add(
        self, found: Belongings, start: Key, children: Mapping[Key, list[tuple[ForeignKey, str]]]
    ) -> None:
        todo = [start]
        while todo:
            if (row := todo.pop()) in found.gone:
                continue
            found.gone.add(row)
            for foreign, child in children.get(row, ()):
                key = (foreign.child, child)
                rule = PYTHON_SIDE.get((foreign.child, foreign.column), foreign.rule)
                if rule == "SET NULL":
                    found.cleared[key].add(foreign.column)
                elif rule == "CASCADE":
                    todo.append(key)
                else:
                    raise AssertionError(f"{foreign} leads to a subject: say in PYTHON_SIDE how")

    def _read_edges(self) -> dict[Key, list[tuple[ForeignKey, str]]]:
        """Return the rows that refer to each row."""
        found: dict[Key, list[tuple[ForeignKey, str]]] = defaultdict(list)
        for number, parent, child in self.ask(self._all_edges):
            foreign = self._leading[number]
            found[foreign.parent, parent].append((foreign, child))
        return found

    def _find_loose(
        self, conditions: Mapping[str, str], kind: str, pk: UUID, family: Collection[str]
    ) -> set[Key]:
        types = [f"(c.app_label = '{a}' AND c.model = '{m}')" for a, m in CONTENT_TYPES[kind]]
        names = {
            "id": self._literal(pk),
            "family": ", ".join(sorted(family)),
            "text": f"'{pk}'",
            "quoted": f"'%{pk.hex}%'",
            "kind": f"'{kind}'",
            "content_types": " OR ".join(types),
        }
        parts = [
            f"SELECT '{table}', {self._key(table)} FROM {table} t WHERE {text.format(**names)}"
            for table, text in conditions.items()
            if table in self.columns
        ]
        return {(table, key) for table, key in self.ask(" UNION ALL ".join(parts))}

    def _literal(self, pk: UUID) -> str:
        return f"'{pk.hex}'" if self.is_sqlite else f"'{pk}'::uuid"

    # --- the catalogue itself -------------------------------------------------------------------

    def ask(self, text: str) -> list[Any]:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                # A drain bounds the statements of its transaction, which here is the test's.
                cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute(text)
            rows: list[Any] = cursor.fetchall()
        return rows

    def _key(self, table: str, column: str = "") -> str:
        name = f't."{column or self.keys[table]}"'
        return f"quote({name})" if self.is_sqlite else f"{name}::text"

    @cached_property
    def _all_rows(self) -> str:
        parts = []
        for table, columns in self.columns.items():
            row = "to_jsonb(t)::text"
            if self.is_sqlite:
                pairs = ", ".join(f"'{one}', quote(t.\"{one}\")" for one in columns)
                row = f"json_object({pairs})"
            parts.append(f"SELECT '{table}', {self._key(table)}, {row} FROM \"{table}\" t")
        return " UNION ALL ".join(parts)

    @cached_property
    def _leading(self) -> list[ForeignKey]:
        """The foreign keys that lead, at whatever remove, to a subject."""
        reached = set(ROOTS.values())
        found: list[ForeignKey] = []
        while more := [
            one for one in self.foreign_keys if one.parent in reached and one not in found
        ]:
            found += more
            reached |= {one.child for one in more if one.rule != "SET NULL"}
        return found

    @cached_property
    def _all_edges(self) -> str:
        parts = [
            f"SELECT {number}, {self._key(one.child, one.column)}, {self._key(one.child)}"
            f' FROM "{one.child}" t WHERE t."{one.column}" IS NOT NULL'
            for number, one in enumerate(self._leading)
        ]
        return " UNION ALL ".join(parts)

    def _read_columns(self) -> dict[str, list[str]]:
        text = (
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
            " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"
        )
        if self.is_sqlite:
            text = (
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c"
                " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid"
            )
        found: dict[str, list[str]] = defaultdict(list)
        for table, column in self.ask(text):
            found[table].append(column)
        return dict(found)

    def _read_keys(self) -> dict[str, str]:
        text = (
            "SELECT conrelid::regclass::text, a.attname FROM pg_constraint"
            " JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]"
            " WHERE contype = 'p' AND connamespace = 'public'::regnamespace"
        )
        if self.is_sqlite:
            text = (
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
                " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND c.pk = 1"
            )
        found = dict(self.ask(text))
        assert found.keys() == self.columns.keys(), "a table without a primary key"
        return found

    def _read_foreign_keys(self) -> list[ForeignKey]:
        if self.is_sqlite:
            rows = self.ask(
                'SELECT m.name, f."from", f."table", f.on_delete FROM sqlite_master m'
                " JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
            )
            return [ForeignKey(*row) for row in rows]
        rows = self.ask(
            "SELECT conrelid::regclass::text, a.attname, confrelid::regclass::text, confdeltype"
            " FROM pg_constraint JOIN pg_attribute a ON a.attrelid = conrelid"
            " AND a.attnum = conkey[1] WHERE contype = 'f'"
        )
        rules = {"c": "CASCADE", "n": "SET NULL"}
        return [
            ForeignKey(child, column, parent, rules.get(rule, rule))
            for child, column, parent, rule in rows
        ]
