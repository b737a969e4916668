"""A database with one organization of so many rows amid those of two hundred others.

Made inside the database. Rows lie in the order of their creation, as in production: those of the
one organization among those of the others, and children near their parents.
"""

from dataclasses import dataclass

import psycopg

from benchmarks.crowd import migrate

OTHERS = 2_000_000
NEIGHBOURS = 200
DOOMED = "00000000-0000-7000-8000-000000000000"
OWNER = "00000000-0000-7000-8000-00000000abcd"


@dataclass(frozen=True)
class Table:
    """One row of this for so many of all."""

    name: str
    parent: str
    link: str
    text: str
    one_in: float
    length: int


TABLES = (
    Table("project", "organization", "organization_id", "name", 2_000, 20),
    Table("task", "project", "project_id", "title", 20, 30),
    Table("comment", "task", "task_id", "body", 1 / 0.55, 80),
    Table("endpoint", "organization", "organization_id", "url", 5_000, 40),
    Table("delivery", "endpoint", "endpoint_id", "body", 5, 100),
    Table("attempt", "delivery", "delivery_id", "answer", 5, 60),
)
KEY = """
    CREATE FUNCTION spell(part double precision, mark int, n bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE AS $$
        SELECT (lpad(to_hex((1735689600000 + part * 30000000000)::bigint), 12, '0') || '7'
            || lpad(to_hex(mark), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid
    $$;
    INSERT INTO organizations_organization (id, name, slug, is_active, is_deleted, created_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Organization ' || n,
        'organization-' || n, true, false, now() FROM generate_series(0, {neighbours}) AS n;
    INSERT INTO accounts_user (id, username, email, name, password, is_active, is_staff,
        is_superuser, is_deleted, date_joined)
    VALUES ('{owner}', 'owner', 'owner@example.com', 'Owner', '!', true, false, false, false,
        now());
    INSERT INTO organizations_membership (id, organization_id, user_id, role, joined_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
        ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, '{owner}', 'owner', now()
    FROM generate_series(0, {neighbours}) AS n
"""
# Rows n of all; of those, every so many belongs to the one organization. Mark 1 is its, 2 theirs.
FILL = """
    CREATE TABLE estate_{name} (id uuid NOT NULL, {link} uuid NOT NULL, {text} text NOT NULL,
        deleted timestamptz, deleted_by_cascade boolean NOT NULL DEFAULT false);
    INSERT INTO estate_{name} (id, {link}, {text})
    SELECT spell(i::float8 / {each}, mark, i), {parent}, repeat('x', {length})
    FROM (
        SELECT n, CASE WHEN is_mine THEN 1 ELSE 2 END AS mark,
            CASE WHEN is_mine THEN before ELSE n - before END AS i
        FROM (
            SELECT n, (n * {mine}) / {total} AS before,
                (n * {mine}) / {total} <> ((n + 1) * {mine}) / {total} AS is_mine
            FROM generate_series(0::bigint, {total} - 1) AS n
        ) AS x
    ) AS y ORDER BY n
"""
TOP = (
    "('00000000-0000-7000-8000-' || lpad((CASE WHEN mark = 1 THEN 0 ELSE 1 + i % {neighbours} END)"
    "::text, 12, '0'))::uuid"
)
BELOW = "spell({index}::float8 / {each}, mark, {index})"
EACH = "(CASE WHEN mark = 1 THEN {mine} ELSE {others} END)"
FINISH = """
    ALTER TABLE estate_{name} ADD PRIMARY KEY (id);
    CREATE INDEX estate_{name}_link ON estate_{name} ({link});
    ALTER TABLE estate_{name} ADD FOREIGN KEY ({link}) REFERENCES {above} ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
"""


def build(url: str, *, rows: int, others: int = OTHERS) -> None:
    """Fill an empty database."""
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'; SET work_mem = '256MB'")
        _run(connection, KEY.format(neighbours=NEIGHBOURS, owner=OWNER))
        sizes: dict[str, tuple[int, int]] = {}
        for table in TABLES:
            mine, total = _sizes(table, rows, others)
            sizes[table.name] = mine, total
            _fill(connection, table, mine, total, sizes)
        _run(connection, "CREATE INDEX estate_in_order ON estate_delivery (endpoint_id, id)")
        connection.execute("DROP FUNCTION spell")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _sizes(table: Table, rows: int, others: int) -> tuple[int, int]:
    mine = max(1, round(rows / table.one_in))
    return mine, mine + max(NEIGHBOURS, round(others / table.one_in))


def _fill(
    connection: psycopg.Connection[object],
    table: Table,
    mine: int,
    total: int,
    sizes: dict[str, tuple[int, int]],
) -> None:
    above = sizes.get(table.parent)
    each = EACH.format(mine=mine, others=total - mine)
    if above is None:
        parent, target = TOP.format(neighbours=NEIGHBOURS), "organizations_organization"
    else:
        parent, target = _spell_parent(above, each), f"estate_{table.parent}"
    numbers = {"mine": mine, "total": total, "length": table.length, "each": each}
    names = {"name": table.name, "link": table.link, "text": table.text}
    _run(connection, FILL.format(parent=parent, **numbers, **names))
    _run(connection, FINISH.format(above=target, **names))


def _spell_parent(above: tuple[int, int], each: str) -> str:
    """Return the parent's key, spelled as its own row has spelled it: near in time, not in
    order."""
    up_mine, up_total = above
    up = EACH.format(mine=up_mine, others=up_total - up_mine)
    index = f"((i * {up} / {each} + i * 7919 % 20) % {up})"
    return BELOW.format(index=index, each=up)


def _run(connection: psycopg.Connection[object], text: str) -> None:
    connection.execute(text.encode())
