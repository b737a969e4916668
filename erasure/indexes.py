"""Which columns the database finds without reading a whole table.

PostgreSQL and SQLite index no foreign key by themselves; Django does, unless it is told otherwise.
"""

from collections.abc import Iterator
from typing import Any

from django.db import connections, models
from django.db.models import F, Q
from django.db.models.functions import Lower

from erasure.graph import Aim, Model, Way
from erasure.policies import Loose, declared


def is_indexed(model: Model, way: Way) -> bool:
    """Whether the rows that a link or a loose reference leads to are found by an index."""
    if isinstance(way, Aim):
        return is_loose_indexed(model, way.field, way.loose)
    return is_leading(model, way.child_field)


def is_loose_indexed(model: Model, field: Any, loose: Loose) -> bool:
    if loose.quoted or loose.match:
        return False
    if loose.index:
        return True
    return is_lower_leading(model, field) if loose.ignore_case else is_leading(model, field)


def is_leading(model: Model, field: Any) -> bool:
    """Whether a column is the first one of an index that holds every row with a value."""
    if field.primary_key or field.unique or field.db_index:
        return True
    return any(first == field.name for first in _first_fields(model, field))


def is_lower_leading(model: Model, field: Any) -> bool:
    """Whether an index begins with a column in lower case."""
    return any(
        isinstance(first, Lower) and first.get_source_expressions() == [F(field.name)]
        for index in _whole_indexes(model, field)
        for first in index.expressions[:1]
    )


def _first_fields(model: Model, field: Any) -> Iterator[str]:
    for index in _whole_indexes(model, field):
        if index.fields:
            yield index.fields[0].removeprefix("-")
    for names in model._meta.unique_together:
        yield names[0]


def _whole_indexes(model: Model, field: Any) -> Iterator[Any]:
    """Yield the indexes that leave out no row where the column has a value."""
    has_value = Q(**{f"{field.name}__isnull": False})
    unique = [one for one in model._meta.constraints if isinstance(one, models.UniqueConstraint)]
    for index in [*model._meta.indexes, *unique]:
        if index.condition is None or index.condition == has_value:
            yield index


def make_missing_indexes(using: str, **kwargs: Any) -> None:
    """Make the indexes that policies want on tables of other packages, after ``migrate``.

    No migration of ours could: whether such a table is there is the project's affair, and it may
    come later.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for model, policy in declared().items():
            table = model._meta.db_table
            for loose in policy.loose:
                if loose.index and table in tables:
                    column: Any = model._meta.get_field(loose.field)
                    cursor.execute(
                        f"CREATE INDEX IF NOT EXISTS {quote(loose.index)} "
                        f"ON {quote(table)} ({quote(column.column)})"
                    )
