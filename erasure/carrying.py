"""The statements that delete and overwrite, for a whole set of subjects at once."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection

from audit.doors import OPENS_DOOR, open_door
from audit.models import EventDetail
from erasure.composing import Composer
from erasure.dialects import Dialect, Sql, Subjects
from erasure.graph import Edge, Model, Touched
from erasure.paths import is_single
from erasure.policies import Anonymise
from erasure.running import join, run, with_
from erasure.tally import Tally

if TYPE_CHECKING:
    from erasure.closure import Closure, Step

BySubject = dict["Step", dict[UUID, int]]


def carry_out(closure: "Closure", steps: Sequence["Step"], subjects: Subjects) -> Tally:
    """Do some steps, in their order, and return how many rows each took of each subject."""
    lock_parents(closure, subjects)
    return change(closure, steps, subjects)


def change(closure: "Closure", steps: Sequence["Step"], subjects: Subjects) -> Tally:
    """The same, where nobody can add a row any more."""
    if subjects.dialect.can_count_what_it_changes:
        return _in_one_statement(closure, steps, subjects)
    with doorway(step.model for step in steps):
        return closure.tally(_counted_before(closure, steps, subjects))


def doorway(models: Iterable[Model]) -> AbstractContextManager[None]:
    """Return what lets rows of these models go: personal values of the audit log leave through a
    door of its own."""
    return open_door("redact") if EventDetail in models else nullcontext()


def lock_parents(closure: "Closure", subjects: Subjects) -> None:
    """Lock the rows, beside the subjects' own, on which others hang. A child that a stranger adds
    meanwhile is either there before the count, or finds no parent at its commit; without the lock
    it could go uncounted with its parent."""
    if not subjects.dialect.can_count_what_it_changes:
        return  # SQLite has one writer.
    for model in closure.parents:

        def compose(model: Model = model) -> Sql:
            composer = closure.composer(subjects)
            key, table = composer.key(model), subjects.dialect.quote(model._meta.db_table)
            return with_(
                composer.named([model]),
                Sql(
                    f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {key} IN "
                    f"(SELECT pk FROM {composer.names[model]}) ORDER BY {key} FOR UPDATE) AS held"
                ),
            )

        run(closure.remembered(("lock", model), compose), subjects)


def _in_one_statement(closure: "Closure", steps: Sequence["Step"], subjects: Subjects) -> Tally:
    """Send one statement for as many steps as possible, each counting what it changes. All parts
    of it see the rows as they were when it began, and the cascades come after all of them."""
    tally = Tally()
    for together in _batches(steps):

        def compose(together: Sequence["Step"] = together) -> Sql:
            return _compose(closure, together, subjects)

        name = ("change", *(step.number for step in together))
        for subject, text in run(closure.remembered(name, compose), subjects):
            tally.add_read(subjects.name(subject), closure.read(text))
    return tally


def _compose(closure: "Closure", steps: Sequence["Step"], subjects: Subjects) -> Sql:
    """Return a statement that yields a row for each subject: its key, and ``step rows,step rows``.
    A row for each step of each subject would cost this side more than the database."""
    composer, changes, results = closure.composer(subjects), [], []
    for step in steps:
        change = _change(closure, composer, step)
        name = f"done_{step.number}"
        changes.append(Sql(f"{name} AS ({change.text})", change.params))
        counted = f"SELECT {step.number} AS step, subject, COUNT(*) AS n FROM {name}"
        results.append(Sql(f"{counted} GROUP BY subject"))
    union = join(" UNION ALL ", results)
    told = f"SELECT subject, string_agg(step || ' ' || n, ',') FROM ({union.text}) AS done"
    ctes = [*closure.needed(composer, steps), *changes]
    return with_(ctes, Sql(f"{told} GROUP BY subject", union.params))


def _counted_before(closure: "Closure", steps: Sequence["Step"], subjects: Subjects) -> BySubject:
    """Count everything in one query, then change what there is. For a database with one writer,
    where nothing comes in between."""
    counted = closure.count_steps(steps, subjects.ids)
    circles = [model for many in closure.graph.components if len(many) > 1 for model in many]
    keys = {model: _keys(closure, model, subjects) for model in circles}
    for step in steps:
        if step not in counted:
            continue
        if step.touched is None and step.model in keys:
            # The first delete of a circle cuts the way to the others.
            delete_by_key(subjects.dialect, {step.model: keys[step.model]})
            continue

        def compose(step: "Step" = step) -> Sql:
            composer = closure.composer(subjects)
            return with_(closure.needed(composer, [step]), _change(closure, composer, step))

        run(closure.remembered(("change", step.number), compose), subjects)
    return counted


def delete_by_key(dialect: Dialect, keys: Mapping[Model, Sequence[Any]]) -> dict[Model, int]:
    """Delete rows by their keys, of several models together; return how many there were."""
    parts = [
        (model, dialect.among_values(dialect.key_of(model), model._meta.pk, known))
        for model, known in keys.items()
        if known
    ]
    if not parts:
        return {}
    deletions = [
        Sql(
            f"DELETE FROM {dialect.quote(model._meta.db_table)} WHERE {condition.text}",
            condition.params,
        )
        for model, condition in parts
    ]
    with connection.cursor() as cursor:
        if not dialect.can_count_what_it_changes:
            for deletion in deletions:
                cursor.execute(deletion.text, deletion.params)
            # Its own count leaves out what a cascade took on the way.
            return {model: len(keys[model]) for model, _ in parts}
        named = [
            Sql(f"done_{number} AS ({deletion.text} RETURNING 1)", deletion.params)
            for number, deletion in enumerate(deletions)
        ]
        counts = ", ".join(f"(SELECT COUNT(*) FROM done_{n})" for n in range(len(parts)))
        whole = with_(named, Sql(f"SELECT {counts}"))
        cursor.execute(whole.text, whole.params)
        return dict(zip((model for model, _ in parts), cursor.fetchone(), strict=True))


def assignments(composer: Composer, touched: Touched) -> Sql:
    """Return what ``SET`` says: new values, and links cleared where they lead to the subject. A row
    may have several links, to different people."""
    quote, key = composer.dialect.quote, composer.key(touched.model)
    texts: list[str] = []
    params: list[Any] = []
    for column, condition, value in _new_values(composer, touched):
        text = "NULL" if value is None else "%s"
        if condition is not None:
            kept = composer.dialect.column(touched.model, column)
            mine = f"SELECT pk FROM ({condition.text}) AS mine"
            text = f"CASE WHEN {key} IN ({mine}) THEN {text} ELSE {kept} END"
            params += condition.params
        texts.append(f"{quote(column)} = {text}")
        params += [] if value is None else [value]
    return Sql(", ".join(texts), tuple(params))


def _new_values(composer: Composer, touched: Touched) -> Iterable[tuple[str, Sql | None, Any]]:
    """Yield column, condition and new value of what is overwritten."""
    connected = composer.dialect.connection
    named: Mapping[str, Any] = {}
    if isinstance(touched.fate, Anonymise):
        named = touched.fate.values
        for name, value in named.items():
            column: Any = touched.model._meta.get_field(name)
            yield column.column, None, column.get_db_prep_save(value, connected)
    for way in touched.ways:
        link = way.child_field if isinstance(way, Edge) else way.field
        is_spelled_out = named and not isinstance(way, Edge)
        if link.name in named or is_spelled_out:
            continue
        condition = composer.touched(touched, [way]) if len(touched.ways) > 1 else None
        yield link.column, condition, None if link.null else ""


def _change(closure: "Closure", composer: Composer, step: "Step") -> Sql:
    """Return the statement that deletes or overwrites a step's rows; on PostgreSQL it returns the
    subject of each."""
    if step.touched is None:
        return _deletion(closure, composer, step.model)
    return _overwriting(composer, step.touched)


def _deletion(closure: "Closure", composer: Composer, model: Model) -> Sql:
    table, key = composer.dialect.quote(model._meta.db_table), composer.key(model)
    paths = composer.paths(model)
    is_simple = is_single(paths) and not closure.is_recursive(model)
    found = composer.names[model]
    if composer.dialect.can_count_what_it_changes:
        # Opened by the statement itself, which saves a query.
        door = f" AND {OPENS_DOOR}" if model is EventDetail else ""
        if is_simple:
            path = paths[0]
            using = f" USING {path.sources}" if path.sources else ""
            text = f"DELETE FROM {table}{using} WHERE {path.where}{door} RETURNING {path.subject}"
            return Sql(f"{text} AS subject", path.params)
        return Sql(
            f"DELETE FROM {table} USING {found} AS found WHERE {key} = found.pk{door} "
            "RETURNING found.subject"
        )
    if is_simple and not paths[0].sources:
        return Sql(f"DELETE FROM {table} WHERE {paths[0].where}", paths[0].params)
    return Sql(f"DELETE FROM {table} WHERE {key} IN (SELECT pk FROM {found})")


def _overwriting(composer: Composer, touched: Touched) -> Sql:
    table, key = composer.dialect.quote(touched.model._meta.db_table), composer.key(touched.model)
    values, rows = assignments(composer, touched), composer.touched(touched)
    params = (*values.params, *rows.params)
    change = f"UPDATE {table} SET {values.text}"
    if composer.dialect.can_count_what_it_changes:
        text = f"{change} FROM ({rows.text}) AS found WHERE {key} = found.pk"
        return Sql(f"{text} RETURNING found.subject", params)
    return Sql(f"{change} WHERE {key} IN (SELECT pk FROM ({rows.text}) AS s)", params)


def _keys(closure: "Closure", model: Model, subjects: Subjects) -> list[Any]:
    def compose() -> Sql:
        composer = closure.composer(subjects)
        return with_(composer.named([model]), Sql(f"SELECT pk FROM {composer.names[model]}"))

    return [pk for (pk,) in run(closure.remembered(("keys", model), compose), subjects)]


def _batches(steps: Sequence["Step"]) -> Iterable[list["Step"]]:
    """Yield steps that may share a statement: it may overwrite a row once only."""
    together: list[Step] = []
    overwritten: set[Model] = set()
    for step in steps:
        if step.touched is not None:
            if step.model in overwritten:
                yield together
                together, overwritten = [], set()
            overwritten.add(step.model)
        together.append(step)
    if together:
        yield together
