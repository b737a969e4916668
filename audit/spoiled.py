"""Rows that no service can have written: what reading them raises, and which have an id at all."""

from typing import Any

from django.core.exceptions import FullResultSet
from django.db import DatabaseError, models

UNREADABLE = (
    DatabaseError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What loading such a row raises, as for a time without end or a number that is too long."""


class HasId(models.Lookup):
    """The condition that a UUID field holds an id in the service's own spelling.

    SQLite keeps whatever is written there. What is no id cannot be loaded, and what is one in
    another spelling is found by no condition that names it.

    ``rows.filter(HasId("subject_id"))``
    """

    prepare_rhs = False

    def __init__(self, field: str) -> None:
        super().__init__(models.F(field), None)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if connection.vendor != "sqlite":
            raise FullResultSet
        column, params = self.process_lhs(compiler, connection)
        # Both lengths, for to SQLite a text ends at its first NUL.
        sql = (
            f"(typeof({column}) = 'text' AND length({column}) = 32 "
            f"AND length(CAST({column} AS BLOB)) = 32 AND {column} NOT GLOB '*[^0-9a-f]*')"
        )
        return sql, [*params] * 4
