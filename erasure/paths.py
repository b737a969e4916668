"""Ways to rows that need no other named query: a column that names the subject."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.models import BooleanField, F, Func

from erasure.dialects import Dialect, Sql, is_spelled_alike
from erasure.graph import Aim, Model
from erasure.policies import Loose


class Path(NamedTuple):
    """One way to rows of a model: the relations beside it, the condition, and whose row it is.

    ``repeats`` says that it may reach a row more than once.
    """

    sources: str
    where: str
    subject: str
    params: tuple[Any, ...]
    repeats: bool = False


class AmongSubjects(Func):
    """The condition, in a queryset of subjects, that a row is one of the set."""

    output_field = BooleanField()
    conditional = True

    def __init__(self, *expressions: Any, dialect: Dialect) -> None:
        super().__init__(*expressions)
        self.dialect = dialect

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **context: Any) -> Any:
        column, params = compiler.compile(self.source_expressions[0])
        condition = self.dialect.among(column)
        return condition.text, (*params, *condition.params)


def find_aimed(
    aim: Aim, kind: Any, root: Model, dialect: Dialect, instances: Sequence[Any]
) -> list[Path]:
    """Return the ways to rows that name a subject without a foreign key: one, or one for each of
    the ``instances`` when each has a condition of its own."""
    loose, further = aim.loose, []
    if loose.kind_field:
        field: Any = aim.model._meta.get_field(loose.kind_field)
        further.append(Sql(f"{dialect.column(aim.model, field.column)} = %s", (kind.name,)))
    if loose.where:
        among = AmongSubjects(F("pk"), dialect=dialect)
        subjects = root._base_manager.filter(among)
        further.append(_write_condition(aim.model, loose.where(subjects), dialect))
    if loose.match is not None:
        paths = [_matched(aim.model, loose.match(one), one, dialect) for one in instances]
    else:
        paths = [_named(aim, root, dialect)]
    for more in further:
        paths = [narrow(path, more) for path in paths]
    return paths


def _named(aim: Aim, root: Model, dialect: Dialect) -> Path:
    column, loose = dialect.column(aim.model, aim.field.column), aim.loose
    if loose.quoted:
        pairs, mentions = dialect.quoted(column)
        return Path(pairs.text, mentions, "wanted.subject", pairs.params, repeats=True)
    if loose.to != "pk":
        return _by_value(column, loose, root, dialect)
    if is_spelled_alike(aim.field, root._meta.pk):
        among = dialect.among(column)
        return Path("", among.text, column, among.params)
    pairs = dialect.pairs(aim.field)
    return Path(pairs.text, f"{column} = wanted.form", "wanted.subject", pairs.params)


def _by_value(column: str, loose: Loose, root: Model, dialect: Dialect) -> Path:
    target: Any = root._meta.get_field(loose.to)
    pk: Any = root._meta.pk
    key = f"the_subject.{dialect.quote(pk.column)}"
    value = f"the_subject.{dialect.quote(target.column)}"
    among = dialect.among(key)
    where = [f"{column} = {value}", among.text]
    if loose.ignore_case:
        where[0] = f"LOWER({column}) = LOWER({value})"
    if isinstance(target, models.CharField | models.TextField):
        # An empty address is nobody's.
        where.append(f"{value} <> ''")
    sources = f"{dialect.quote(root._meta.db_table)} AS the_subject"
    # Two subjects may have the same value.
    return Path(sources, " AND ".join(where), key, among.params, repeats=True)


def _matched(model: Model, q: models.Q, instance: Any, dialect: Dialect) -> Path:
    mine, condition = dialect.one(), _write_condition(model, q, dialect)
    key = dialect.key.get_db_prep_value(instance.pk, dialect.connection)
    return Path(mine.text, condition.text, "mine.subject", (key, *condition.params))


def _write_condition(model: Model, q: models.Q, dialect: Dialect) -> Sql:
    """Return a condition of the ORM's on the rows of a model, as SQL of the same table."""
    query = model._base_manager.filter(q).order_by().values("pk").query
    compiler = query.get_compiler(connection=dialect.connection)
    try:
        whole, whole_params = compiler.as_sql()
    except EmptyResultSet:
        return Sql("1 = 0")
    tables = [alias for alias, count in query.alias_refcount.items() if count]
    if tables == [model._meta.db_table]:
        text, params = compiler.compile(query.where) if query.where else ("1 = 1", ())
        return Sql(text, tuple(params))
    return Sql(f"{dialect.key_of(model)} IN ({whole})", tuple(whole_params))


def is_single(paths: Sequence[Path]) -> bool:
    """Whether no row is reached twice."""
    return len(paths) == 1 and not paths[0].repeats


def narrow(path: Path, more: Sql) -> Path:
    """Return a way to those of its rows that fulfil one more condition."""
    if more.text == "1 = 1":
        return path
    return path._replace(
        where=f"{path.where} AND ({more.text})", params=(*path.params, *more.params)
    )
