"""``manage.py check --database default``: what the database itself does when a row goes.

A model can say DB_CASCADE while the table, made by an older migration or by hand, says otherwise.
These are warnings, for ``migrate`` itself stops at errors: ask for ``--fail-level WARNING``.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections, models
from django.db.models import DB_CASCADE, DB_SET_NULL

from erasure.checks import concrete_models
from erasure.faults import Place
from erasure.graph import Model, target_of
from erasure.policies import declared


def check_catalogue(
    app_configs: Any, databases: Iterable[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Compare foreign keys and indexes with those of each database that was asked for."""
    faults: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        with connection.cursor() as cursor:
            tables = set(connection.introspection.table_names(cursor))
            for model in concrete_models():
                if model._meta.db_table in tables:
                    faults += _check_rules(connection, cursor, model)
                    faults += _check_indexes(connection, cursor, model)
    return faults


def expected_rule(field: Any) -> str:
    """Return what the database does to a row when the row that a foreign key names goes."""
    rules = {DB_CASCADE: "CASCADE", DB_SET_NULL: "SET NULL"}
    return rules.get(field.remote_field.on_delete, "NO ACTION")


def _check_rules(connection: Any, cursor: Any, model: Model) -> Iterator[CheckMessage]:
    found = read_rules(connection, cursor, model)
    for field in model._meta.local_concrete_fields:
        link: Any = field
        if not isinstance(field, models.ForeignKey) or not link.db_constraint:
            continue
        if not target_of(field)._meta.managed:
            continue
        rule, wanted = found.get(field.column, "no constraint"), expected_rule(field)
        if rule != wanted:
            yield checks.Warning(
                f"{model._meta.label}.{field.name}: the table says {rule}, the model {wanted}.",
                hint="Run migrate; if that changes nothing, correct the constraint by hand.",
                obj=Place(f"{model._meta.label}.{field.name}"),
                id="erasure.W020",
            )


def _check_indexes(connection: Any, cursor: Any, model: Model) -> Iterator[CheckMessage]:
    policy = declared().get(model)
    wanted = {loose.index for loose in policy.loose if loose.index} if policy else set()
    if not wanted:
        return
    known = connection.introspection.get_constraints(cursor, model._meta.db_table)
    for name in sorted(wanted - known.keys()):
        yield checks.Warning(
            f"{model._meta.label}: the index {name} is missing.",
            hint="Run migrate, which makes it.",
            obj=Place(model._meta.label),
            id="erasure.W021",
        )


def read_rules(connection: Any, cursor: Any, model: Model) -> dict[str, str]:
    """Return the delete rule of each foreign key of a table, by column."""
    table = model._meta.db_table
    if connection.vendor == "sqlite":
        cursor.execute(f"PRAGMA foreign_key_list({connection.ops.quote_name(table)})")
        return {row[3]: row[6] for row in cursor.fetchall()}
    cursor.execute(_RULES, [connection.ops.quote_name(table)])
    names = {"a": "NO ACTION", "c": "CASCADE", "n": "SET NULL", "r": "RESTRICT"}
    return {column: names.get(rule, rule) for column, rule in cursor.fetchall()}


_RULES = """
    SELECT a.attname, c.confdeltype::text FROM pg_constraint AS c
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.conrelid = %s::regclass
"""
