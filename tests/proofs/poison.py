"""A subject that the database refuses to let go, by a trigger of its own."""

from uuid import UUID

from django.db import connection


def poison(user_id: UUID) -> None:
    """Let every attempt to remove a user's row raise."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "CREATE TRIGGER poison BEFORE DELETE ON accounts_user "
                f"WHEN OLD.id = '{user_id.hex}' BEGIN SELECT RAISE(ABORT, 'poison'); END"
            )
            return
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'poison'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER poison BEFORE DELETE ON accounts_user FOR EACH ROW "
            f"WHEN (OLD.id = '{user_id}') EXECUTE FUNCTION refuse()"
        )


def heal() -> None:
    """Take the trigger away again."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS poison")
            return
        cursor.execute("DROP TRIGGER IF EXISTS poison ON accounts_user")
        cursor.execute("DROP FUNCTION IF EXISTS refuse()")
