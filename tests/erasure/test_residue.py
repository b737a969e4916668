"""The residual search in the tables of a database, and in what a database only forgot."""

from base64 import b64encode
from typing import Any

import pytest
from django.db import connection, connections, transaction

from accounts.sessions import SessionStore
from audit.events import Reference
from audit.models import AuditEvent
from erasure import pgtables
from erasure.references import spell
from erasure.residue import Findings, Hit, search
from erasure.snapshots import one_moment
from erasure.tables import read_blocks, read_tables
from tests.factories import InvitationFactory, UserFactory

MARK = "Canary-8f3e@Example.org"


def places(found: Findings) -> set[tuple[str, str, str]]:
    return {(hit.where, hit.column, hit.form) for hit in found}


def run(sql: str, values: list[Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or [])


@pytest.mark.django_db
def test_a_row_is_named_by_table_column_and_key_and_its_value_is_not_shown() -> None:
    user = UserFactory(username="ann", email=MARK.lower())
    UserFactory(username="charlie")
    found = search([MARK])
    assert found.hits == [Hit(0, "accounts_user", "email", str(user.pk), "other case")]
    assert MARK.lower() not in repr(found).lower()


@pytest.mark.django_db
def test_nothing_is_found_where_nothing_is() -> None:
    UserFactory.create_batch(3)
    found = search([MARK])
    assert not found
    assert found.tables > 10
    assert found.read > 0


@pytest.mark.django_db
def test_a_batch_is_told_apart_in_one_pass() -> None:
    ann, bob = UserFactory(email="ann@left.example"), UserFactory(email="bob@left.example")
    found = search(["nobody@left.example", "bob@left.example", "ann@left.example"])
    assert {(hit.needle, hit.key) for hit in found} == {(1, str(bob.pk)), (2, str(ann.pk))}


@pytest.mark.django_db
def test_a_uuid_is_found_in_columns_of_that_type_and_in_documents() -> None:
    user = UserFactory()
    invitation = InvitationFactory(invited_by=user)
    AuditEvent.objects.create(
        at=user.date_joined,
        action="x",
        actor_kind="system",
        channel="test",
        facts={"who": str(user.pk)},
    )
    found = search([str(user.pk)])
    assert {(hit.where, hit.column) for hit in found} == {
        ("accounts_user", "id"),
        ("organizations_invitation", "invited_by_id"),
    }
    assert {(hit.where, hit.column) for hit, _ in found.kept} == {("audit_auditevent", "facts")}
    keys = {hit.where: hit.key for hit in found}
    assert keys["organizations_invitation"] == str(invitation.pk)


@pytest.mark.django_db
def test_an_id_is_found_in_each_of_its_spellings() -> None:
    user = UserFactory()
    typed = spell(Reference("user", user.pk))
    UserFactory(name=f"see {typed}")
    for needle in (typed, str(user.pk)):
        assert {(hit.column, hit.where) for hit in search([needle])} == {
            ("id", "accounts_user"),
            ("name", "accounts_user"),
        }


@pytest.mark.django_db
def test_an_opaque_id_that_a_policy_keeps_is_no_hit_and_an_address_there_is() -> None:
    user = UserFactory.build()
    event = AuditEvent.objects.create(
        at=user.date_joined,
        action="x",
        actor_kind="system",
        channel="test",
        subject_kind="user",
        subject_id=user.pk,
        facts={"leak": MARK},
    )
    found = search([str(user.pk), MARK])
    assert found.hits == [Hit(1, "audit_auditevent", "facts", str(event.pk), "plain")]
    ((hit, because),) = found.kept
    assert (hit.where, hit.column) == ("audit_auditevent", "subject_id")
    assert because.startswith("Shows that")


@pytest.mark.django_db
def test_a_table_that_no_model_knows_is_searched_and_every_type_in_it() -> None:
    binary = "bytea" if connection.vendor == "postgresql" else "blob"
    run(f"CREATE TABLE leftover (a text, b {binary}, c text)")
    run("INSERT INTO leftover VALUES (%s, %s, NULL)", ["nothing", b"\0\1" + MARK.encode()])
    run(
        "INSERT INTO leftover VALUES (%s, NULL, %s)",
        [MARK, b64encode(b"x" + MARK.encode()).decode()],
    )
    assert places(search([MARK])) == {
        ("leftover", "a", "plain"),
        ("leftover", "b", "plain"),
        ("leftover", "c", "base64"),
    }


@pytest.mark.django_db
def test_a_key_that_holds_the_identifier_is_masked() -> None:
    run("CREATE TABLE named (name varchar(90) PRIMARY KEY, note text)")
    run("INSERT INTO named VALUES (%s, %s)", [MARK, f"of {MARK}"])
    assert set(search([MARK])) == {
        Hit(0, "named", "name", "***", "plain"),
        Hit(0, "named", "note", "***", "plain"),
    }


@pytest.mark.django_db
def test_a_number_is_found_in_number_columns_as_a_whole_only() -> None:
    run("CREATE TABLE numbers (id integer PRIMARY KEY, phone bigint)")
    run("INSERT INTO numbers VALUES (1, 4915112345678), (2, 49151123456789)")
    assert search(["4915112345678"]).hits == [Hit(0, "numbers", "phone", "1", "plain")]


@pytest.mark.django_db
def test_a_date_is_found_in_date_columns() -> None:
    run("CREATE TABLE born (id integer PRIMARY KEY, born date)")
    run("INSERT INTO born VALUES (1, '1931-05-17')")
    assert search(["1931-05-17"]).hits == [Hit(0, "born", "born", "1", "plain")]


@pytest.mark.django_db
def test_lists_ranges_and_views_on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has these")
    run("CREATE SCHEMA other")
    run("CREATE TABLE other.many (id integer PRIMARY KEY, a text[], d inet)")
    run("INSERT INTO other.many VALUES (7, ARRAY['x', %s], '192.0.2.77')", [MARK])
    run("CREATE MATERIALIZED VIEW seen AS SELECT a[2] AS who FROM other.many")
    run("CREATE TABLE split (who text, year int) PARTITION BY LIST (year)")
    run("CREATE TABLE split_1 PARTITION OF split FOR VALUES IN (1)")
    run("INSERT INTO split VALUES (%s, 1)", [MARK])
    run("CREATE DOMAIN mail AS text")
    run("CREATE TABLE domains (m mail)")
    run("INSERT INTO domains VALUES (%s)", [MARK])
    assert {(hit.where, hit.column) for hit in search([MARK])} == {
        ("other.many", "a"),
        ("seen", "who"),
        ("split_1", "who"),
        ("domains", "m"),
    }
    assert search(["192.0.2.77"]).hits == [Hit(0, "other.many", "d", "7", "plain")]


@pytest.mark.django_db
def test_a_table_without_row_numbers_and_odd_names_on_sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has these")
    columns = '("row id" text, rowid text, PRIMARY KEY ("row id"))'
    run(f'CREATE TABLE "odd ""name" {columns} WITHOUT ROWID')
    run('INSERT INTO "odd ""name" VALUES (%s, %s)', ["k", MARK])
    run("CREATE TABLE shadowed (rowid text, v blob)")
    run(
        "INSERT INTO shadowed VALUES ('same', %s), ('same', %s)", [b"a\0\xff" + MARK.encode(), b"b"]
    )
    assert {(hit.where, hit.column, hit.key) for hit in search([MARK])} == {
        ('odd "name', "rowid", "k"),
        ("shadowed", "v", "1"),
    }


@pytest.mark.django_db
def test_rows_of_many_blocks_keep_their_places() -> None:
    run("CREATE TABLE big (id integer PRIMARY KEY, t text)")
    for start in range(0, 3000, 500):
        rows = [(n, MARK if n % 1000 == 999 else "x" * 1500) for n in range(start, start + 500)]
        marks = ", ".join(["(%s, %s)"] * len(rows))
        run(f"INSERT INTO big VALUES {marks}", [value for row in rows for value in row])
    found = search([MARK])
    assert {hit.key for hit in found} == {"999", "1999", "2999"}


@pytest.mark.django_db
def test_values_too_large_to_be_strung_together_are_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = UserFactory(email=MARK)
    monkeypatch.setattr(pgtables, "_string_together", lambda columns: "1 / (count(*) - count(*))")
    assert search([MARK]).hits == [Hit(0, "accounts_user", "email", str(user.pk), "plain")]


@pytest.mark.django_db
def test_a_table_of_large_values_and_one_of_many_columns() -> None:
    columns = ", ".join(f"c{number} text" for number in range(200))
    run(f"CREATE TABLE wide (id integer PRIMARY KEY, {columns})")
    run("INSERT INTO wide (id, c0, c150, c199) VALUES (1, 'x', %s, 'y')", [MARK])
    run("CREATE TABLE large (id integer PRIMARY KEY, t text)")
    words = " ".join(f"{number * 7919:x}" for number in range(400_000))
    for number in range(12):
        text = words + (MARK if number == 7 else "")
        run("INSERT INTO large VALUES (%s, %s)", [number, text])
    assert {(hit.where, hit.column, hit.key) for hit in search([MARK])} == {
        ("wide", "c150", "1"),
        ("large", "t", "7"),
    }


@pytest.mark.django_db(transaction=True)
def test_a_row_that_moves_during_the_search_is_found() -> None:
    """The whole table is read as of one moment, although in many statements."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has these")
    run("CREATE TABLE moving (id integer PRIMARY KEY, t text)")
    try:
        run(
            "INSERT INTO moving SELECT i, repeat('x', 1970) || CASE i WHEN 3000 THEN %s ELSE '' END"
            " FROM generate_series(1, 3000) i",
            [MARK],
        )
        # The only room is on pages that will have been read.
        run("DELETE FROM moving WHERE id < 400")
        run("VACUUM moving")
        other = connections.create_connection("default")
        table = next(one for one in read_tables(connection) if one.name == "moving")
        found = 0
        with one_moment(), other.cursor() as cursor:
            for block in read_blocks(connection, table, lambda column: True):
                found += block.data.count(MARK.encode())
                # It moves to the pages that have been read already.
                cursor.execute("UPDATE moving SET t = t || ' ' WHERE id = 3000")
        other.close()
        assert found == 1
    finally:
        run("DROP TABLE moving")


@pytest.mark.django_db
def test_a_table_can_be_left_out() -> None:
    UserFactory(email=MARK)
    assert not search([MARK], skip_tables=["accounts_user"])


@pytest.mark.django_db
def test_hits_are_cut_where_the_caller_says() -> None:
    UserFactory.create_batch(5, name=MARK)
    found = search([MARK], limit=3)
    assert len(found) == 3
    assert found.is_cut


@pytest.mark.django_db
def test_a_session_is_looked_into_although_it_is_compressed() -> None:
    session = SessionStore()
    session["seen"] = [MARK] * 20
    session.save()
    found = search([MARK])
    assert places(found) == {("accounts_session", "session_data, unpacked", "plain")}
    assert str(session.session_key) not in repr(found)


@pytest.mark.django_db(transaction=True)
def test_raw_search_finds_what_the_database_only_forgot() -> None:
    with transaction.atomic():
        user = UserFactory(email=MARK, name="n" * 100)
    if connection.vendor == "sqlite":
        run("PRAGMA secure_delete=OFF")
    user.delete()
    assert not search([MARK])
    found = search([MARK], raw=True)
    behind = {"sqlite": "file of the database", "postgresql": "file behind accounts_user"}
    assert behind[connection.vendor] in {hit.where for hit in found}
    if connection.vendor == "sqlite":
        run("PRAGMA secure_delete=ON")
        run("VACUUM")


@pytest.mark.django_db(transaction=True)
def test_raw_search_looks_into_statistics_and_large_objects_on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has these")
    UserFactory.create_batch(3, name="Canary Twice")
    run("ANALYZE accounts_user")
    run("SELECT lo_from_bytea(0, %s)", [b"\0" * ((1 << 20) - 5) + MARK.encode()])
    try:
        found = search(["Canary Twice", MARK], raw=True)
        assert {(hit.needle, hit.where) for hit in found} >= {
            (0, "planner statistics of accounts_user"),
        }
        assert 1 in {hit.needle for hit in found if hit.where == "large object"}
    finally:
        run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


@pytest.mark.django_db
def test_progress_is_told_in_order() -> None:
    heard: list[tuple[str, int, int]] = []
    search([MARK], on_progress=lambda *one: heard.append(one))
    assert heard[0][1] == 0
    assert heard[-1] == ("done", heard[-1][2], heard[-1][2])
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)


@pytest.mark.django_db
def test_other_databases_than_these_two_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    assert "database default: a database of the kind oracle" in search([MARK]).unsearched


@pytest.mark.django_db
def test_tables_that_cannot_be_read_are_named_on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has these")
    run("CREATE TABLE locked (id integer)")
    run("CREATE TABLE guarded (id integer)")
    run("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY")
    run("CREATE ROLE reader_of_little")
    run("GRANT USAGE ON SCHEMA public TO reader_of_little")
    run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_of_little")
    run("REVOKE SELECT ON locked FROM reader_of_little")
    run("SET LOCAL ROLE reader_of_little")
    unsearched = search([MARK], raw=True).unsearched
    run("RESET ROLE")
    assert "table locked: no right to read it" in unsearched
    assert "table guarded: row security hides rows of it" in unsearched
    assert any("pg_read_binary_file" in one for one in unsearched)
