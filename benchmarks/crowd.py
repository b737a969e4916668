"""A world of users with about twenty rows each, made inside the database.

Keys are like UUIDv7 and rows lie in the order of their creation, as in production: a person's rows
among those of the thousand people who joined around the same time.
"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
ROWS_PER_USER = 20
MEMBERS = 10
"""Users of one organization."""

KEY = """
    CREATE FUNCTION v7(at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
            || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid
        FROM (SELECT md5(random()::text) AS h) AS x
    $$
"""
# One joins every ten seconds; what they do is spread over the next thousand who join.
PEOPLE = """
    CREATE TABLE crowd AS
    SELECT n, v7(at) AS id, at FROM (
        SELECT n, timestamptz '2025-01-01' + n * interval '10 seconds' AS at
        FROM generate_series(1, {total}) AS n
    ) AS x ORDER BY n;
    INSERT INTO accounts_user (id, username, email, name, password, is_active, is_staff,
        is_superuser, is_deleted, deleted_at, date_joined)
    SELECT id, 'user' || n, 'user' || n || '@example.com', 'User ' || n, '!', NOT leaves, false,
        false, leaves, CASE WHEN leaves THEN now() END, at
    FROM (SELECT *, n > {before} AND n <= {before} + {users} AS leaves FROM crowd) AS x ORDER BY n;
    INSERT INTO auth_group (name) SELECT 'group ' || n FROM generate_series(1, 20) AS n;
    INSERT INTO organizations_organization (id, name, slug, is_active, is_deleted, created_at)
    SELECT v7(at), 'Organization ' || n, 'organization-' || n, true, false, at
    FROM (SELECT n, timestamptz '2025-01-01' + n * {members} * interval '10 seconds' AS at
        FROM generate_series(0, {total} / {members}) AS n) AS x ORDER BY n;
    CREATE TABLE places AS SELECT (row_number() OVER (ORDER BY id)) - 1 AS n, id
    FROM organizations_organization;
    CREATE UNIQUE INDEX ON places (n);
    ANALYZE places; ANALYZE crowd
"""
MANY = """
    CREATE TEMPORARY TABLE deeds AS
    SELECT c.n, c.id AS who, j, c.at + random() * interval '10000 seconds' AS at
    FROM crowd AS c, generate_series(1, {each} - 1 + (c.n * 7919 + {each}) % {spread}) AS j;
    INSERT INTO {into} SELECT {columns} FROM deeds ORDER BY at;
    DROP TABLE deeds
"""
DEEDS = (
    (
        4,
        "accounts_session (session_key, session_data, expire_date, user_id)",
        "md5(n || '-' || j || 's'), repeat('x', 60), at + interval '400 days', who",
    ),
    (
        2,
        "apikeys_apikey (id, name, digest, hint, user_id, created_by_id, scopes, created_at)",
        "v7(at), 'key', md5(n || '-' || j || 'k') || md5(j || 'k' || n), 'sk-…', who, who, "
        "'[\"account:delete\"]'::jsonb, at",
    ),
    (
        3,
        "organizations_membership (id, organization_id, user_id, role, joined_at)",
        "v7(at), (SELECT id FROM places AS p WHERE p.n = (deeds.n * 7 + j * 31) "
        "% (SELECT count(*) FROM places)), who, 'member', at",
    ),
    (2, "accounts_usergroup (id, user_id, group_id)", "v7(at), who, (n + j) % 20 + 1"),
    (
        1,
        "organizations_manageduser (id, organization_id, user_id, external_id, created_at)",
        "v7(at), (SELECT id FROM places AS p WHERE p.n = deeds.n / {members}), who, 'x' || n, at",
    ),
    (
        1,
        "organizations_invitation (id, organization_id, email, role, token_digest, created_at, "
        "expires_at)",
        "v7(at), (SELECT id FROM places AS p WHERE p.n = deeds.n / {members}), "
        "'User' || n || '@example.com', 'member', md5(n || 'i') || md5('i' || n), at, at",
    ),
)
EVENTS = """
    CREATE TEMPORARY TABLE deeds AS
    SELECT c.id AS who, c.at + random() * interval '10000 seconds' AS at, v7(c.at) AS event
    FROM crowd AS c, generate_series(1, 3) AS j;
    INSERT INTO audit_auditevent (id, at, action, outcome, actor_kind, actor_id, subject_kind,
        subject_id, channel, request_id, facts, commitments)
    SELECT event, at, 'user.seen', 'done', 'user', who, 'user', who, 'world', '', '{{}}', '{{}}'
    FROM deeds ORDER BY at;
    INSERT INTO audit_eventdetail (id, event_id, person_id, field, value, salt)
    SELECT v7(at), event, who, field, '192.0.2.7', ''
    FROM deeds, (VALUES ('address'), ('user_agent')) AS f(field) ORDER BY at;
    DROP TABLE deeds
"""
LEAVING = """
    INSERT INTO erasure_deletionrequest (id, subject_kind, subject_id, state, generation, channel,
        requested_by_kind, requested_by_id, request_id, requested_at, due_at, attempts, last_error,
        before, reference, plan_id, planned, status_digest, cursor, counts, along, told,
        searched, statement)
    SELECT v7(asked), 'user', id, 'scheduled', 1, 'v1-user', 'user', id, 'req_' || n, asked,
        asked + interval '14 days', 0, '', '{{"is_active": true}}', '', '', '{{}}', '', '{{}}',
        '{{}}', '{{}}', '[]', '{{}}', ''
    FROM (SELECT *, now() - interval '30 days' + (n - {before}) * interval '1 ms' AS asked
        FROM crowd WHERE n > {before} AND n <= {before} + {users}) AS x ORDER BY n;
    DROP TABLE crowd; DROP TABLE places; DROP FUNCTION v7
"""


def build(url: str, *, users: int, bystanders: int) -> None:
    """Fill an empty database: users who have all left and are due, half of the bystanders created
    before them and half after them."""
    migrate(url)
    numbers = {
        "users": users,
        "before": bystanders // 2,
        "total": users + bystanders,
        "members": MEMBERS,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'; SET work_mem = '256MB'")
        for text in (KEY, PEOPLE.format(**numbers)):
            connection.execute(text.encode())
        for each, into, columns in DEEDS:
            # From one less to one more than the usual number, so that people differ.
            spread = 3 if each > 1 else 1
            filled = MANY.format(
                each=each + (spread == 1),
                spread=spread,
                into=into,
                columns=columns.format(**numbers),
            )
            connection.execute(filled.encode())
        connection.execute(EVENTS.format(**numbers).encode())
        connection.execute(LEAVING.format(**numbers).encode())
        connection.execute("VACUUM ANALYZE")


def migrate(url: str) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "SECRET_KEY": "only-for-benchmarks-" * 3,
        # Each peer brings a ledger of its own.
        "ERASURE_LEDGER": "none",
    }
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"],
        env=environment,
        cwd=ROOT,
        check=True,
    )
