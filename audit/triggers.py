"""The triggers that make the log append-only in the database itself, for the migration.

What they let pass: an event gets its position, once, for the code that vouched for it, and nothing
else of it changes; a tile grows at its end; personal values and events leave through the door
(``doors``). TRUNCATE is refused where there is one. Only somebody who may alter the tables can
remove the triggers, and then the tree tells.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EVENT, DETAIL, TILE, CHECKPOINT = (
    "audit_auditevent",
    "audit_eventdetail",
    "audit_tile",
    "audit_checkpoint",
)
TABLES = (EVENT, DETAIL, TILE, CHECKPOINT)
COLUMNS = (
    "id",
    "at",
    "action",
    "outcome",
    "actor_kind",
    "actor_id",
    "person_id",
    "subject_kind",
    "subject_id",
    "organization_id",
    "credential_id",
    "channel",
    "request_id",
    "facts",
    "commitments",
)
"""All of an event but its position, and what vouches for it until it has one."""

ANY_REMOVAL = "('redact', 'forget')"


def install(apps: Any, schema_editor: Any) -> None:
    """Make the triggers on the database of a migration."""
    writers = {"postgresql": postgresql, "sqlite": sqlite}
    for statement in writers[schema_editor.connection.vendor]():
        # None, and no parameters: a percent sign in it is one.
        schema_editor.execute(statement, None)


def remove(apps: Any, schema_editor: Any) -> None:
    """Take them away again, for a migration backwards."""
    connection = schema_editor.connection
    if connection.vendor == "postgresql":
        for name in ("audit_redact(uuid)", "audit_forget(uuid[])", "audit_refuse() CASCADE"):
            schema_editor.execute(f"DROP FUNCTION IF EXISTS {name}", None)
        return
    for table in TABLES:
        for event in ("update", "delete"):
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{event}", None)


@contextmanager
def lifted(connection: Any) -> Iterator[None]:
    """Do without the triggers, for a database that starts over. Only whoever owns the tables can.
    A crash in between leaves a database without triggers, which the next start over makes again."""
    with connection.schema_editor() as editor:
        remove(None, editor)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            install(None, editor)


def postgresql() -> list[str]:
    door = "coalesce(current_setting('sexton.audit_door', true), '')"
    old = ", ".join(f"OLD.{name}" for name in COLUMNS)
    new = ", ".join(f"NEW.{name}" for name in COLUMNS)
    sealing = (
        "OLD.sealed_seq IS NULL AND NEW.sealed_seq IS NOT NULL AND NEW.mac IS NULL "
        f"AND ROW({old}) IS NOT DISTINCT FROM ROW({new})"
    )
    growing = (
        "OLD.id = NEW.id AND length(NEW.hashes) > length(OLD.hashes) "
        "AND substring(NEW.hashes FOR length(OLD.hashes)) = OLD.hashes"
    )
    conditions = {
        (EVENT, "UPDATE"): sealing,
        (EVENT, "DELETE"): f"OLD.sealed_seq IS NOT NULL AND {door} = 'forget'",
        (DETAIL, "UPDATE"): "false",
        (DETAIL, "DELETE"): f"{door} IN {ANY_REMOVAL}",
        (TILE, "UPDATE"): growing,
        (TILE, "DELETE"): "false",
        (CHECKPOINT, "UPDATE"): "false",
        (CHECKPOINT, "DELETE"): "false",
    }
    refuse = """
        CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END $$"""
    # As the tables' owner, with the door open for as long as the function runs: a role that may
    # only call them can remove nothing in any other way.
    guarded = "LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET sexton.audit_door"
    redact = f"""
        CREATE FUNCTION audit_redact(person uuid) RETURNS bigint {guarded} = 'redact' AS $$
            WITH gone AS (
                DELETE FROM {DETAIL} WHERE person_id = person OR subject_id = person RETURNING 1
            ) SELECT count(*) FROM gone
        $$"""  # noqa: S608 - names of our own
    forget = f"""
        CREATE FUNCTION audit_forget(ids uuid[]) RETURNS bigint {guarded} = 'forget' AS $$
            WITH details AS (DELETE FROM {DETAIL} WHERE event_id = ANY(ids)),
            gone AS (
                DELETE FROM {EVENT} WHERE id = ANY(ids) AND sealed_seq IS NOT NULL RETURNING 1
            ) SELECT count(*) FROM gone
        $$"""  # noqa: S608 - names of our own
    rows = [
        f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} FOR EACH ROW "
        f"WHEN (NOT ({condition})) EXECUTE FUNCTION audit_refuse()"
        for (table, event), condition in conditions.items()
    ]
    whole = [
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        for table in TABLES
    ]
    closed = [
        f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC"
        for name in ("audit_redact(uuid)", "audit_forget(uuid[])")
    ]
    return [refuse, redact, forget, *rows, *whole, *closed]


def sqlite() -> list[str]:
    same = " AND ".join(f"OLD.{name} IS NEW.{name}" for name in COLUMNS)
    sealing = (
        f"OLD.sealed_seq IS NULL AND NEW.sealed_seq IS NOT NULL AND NEW.mac IS NULL AND {same}"
    )
    growing = (
        "OLD.id = NEW.id AND length(NEW.hashes) > length(OLD.hashes) "
        "AND substr(NEW.hashes, 1, length(OLD.hashes)) = OLD.hashes"
    )
    conditions = {
        (EVENT, "UPDATE"): sealing,
        (EVENT, "DELETE"): "OLD.sealed_seq IS NOT NULL AND audit_door() = 'forget'",
        (DETAIL, "UPDATE"): "0",
        (DETAIL, "DELETE"): f"audit_door() IN {ANY_REMOVAL}",
        (TILE, "UPDATE"): growing,
        (TILE, "DELETE"): "0",
        (CHECKPOINT, "UPDATE"): "0",
        (CHECKPOINT, "DELETE"): "0",
    }
    return [
        f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
        f"WHEN NOT ({condition}) BEGIN SELECT RAISE(ABORT, 'the audit log is append-only: "
        f"{event} on {table} is refused'); END"
        for (table, event), condition in conditions.items()
    ]
