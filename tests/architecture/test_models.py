"""Rules about models and transactions that a reader could forget."""

import ast
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection, models
from django.db.models import DB_CASCADE, DB_SET_NULL

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("accounts", "organizations", "apikeys", "erasure", "audit", "contracts", "config")
OURS = [model for model in apps.get_models() if model.__module__.partition(".")[0] in ROOMS]


def foreign_keys(model: type[models.Model]) -> list[models.ForeignKey[Any, Any]]:
    return [field for field in model._meta.local_fields if isinstance(field, models.ForeignKey)]


def test_the_user_has_no_foreign_key() -> None:
    assert not foreign_keys(get_user_model())


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_foreign_key_cascades_in_the_database(model: type[models.Model]) -> None:
    for field in foreign_keys(model):
        assert field.remote_field.on_delete in (DB_CASCADE, DB_SET_NULL), (
            f"{field}: use DB_CASCADE or DB_SET_NULL"
        )


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_the_first_manager_shows_everything(model: type[models.Model]) -> None:
    filtered = model._default_manager.all().query.where
    assert not filtered, f"The default manager of {model._meta.label} hides rows"


@pytest.mark.django_db
def test_every_foreign_key_is_indexed_in_the_database() -> None:
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            constraints = connection.introspection.get_constraints(cursor, model._meta.db_table)
            leading = {
                found["columns"][0]
                for found in constraints.values()
                if found["columns"] and (found["index"] or found["unique"] or found["primary_key"])
            }
            for field in foreign_keys(model):
                assert field.column in leading, f"{field} has no index that begins with it"


@pytest.mark.django_db
def test_the_database_itself_cascades() -> None:
    with connection.cursor() as cursor:
        for model in OURS:
            for field in foreign_keys(model):
                assert on_delete(cursor, field) in ("CASCADE", "SET NULL"), field


def on_delete(cursor: Any, field: models.ForeignKey[Any, Any]) -> str:
    table = field.model._meta.db_table
    if connection.vendor == "sqlite":
        cursor.execute(f"PRAGMA foreign_key_list({table})")
        return str({row[3]: row[6] for row in cursor.fetchall()}[field.column])
    cursor.execute(_ON_DELETE, [table, field.column])
    return {"c": "CASCADE", "n": "SET NULL"}.get(cursor.fetchone()[0], "other")


_ON_DELETE = """
    SELECT confdeltype FROM pg_constraint AS c
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.conrelid = %s::regclass AND a.attname = %s
"""


def test_durable_transactions_are_opened_in_services_and_the_engine_only() -> None:
    """An edge that opens one decides what belongs together, which is the domain's affair."""
    allowed = {
        "accounts/services.py",
        "accounts/joining.py",
        "apikeys/services.py",
        "audit/forgetting.py",
        "organizations/archiving.py",
        "organizations/founding.py",
        "organizations/invitations.py",
        "organizations/managing.py",
        "organizations/members.py",
        "organizations/services.py",
        "organizations/oauth/applications.py",
        "organizations/oauth/issuing.py",
        "organizations/oauth/services.py",
        "organizations/billing/carrying.py",
        "organizations/billing/subscriptions.py",
        "erasure/alone.py",
        "erasure/brakes.py",
        "erasure/deleting.py",
        "erasure/ended.py",
        "erasure/executor.py",
        "erasure/holds.py",
        "erasure/logs.py",
        "erasure/outlived.py",
        "erasure/replay.py",
        "erasure/retention.py",
        "erasure/sets.py",
        "erasure/totals.py",
        "erasure/working.py",
        "erasure/bulk.py",
        "erasure/retrying.py",
        "erasure/verifying.py",
        "organizations/webhooks/delivering.py",
        "organizations/webhooks/endpoints.py",
        "organizations/webhooks/history.py",
    }
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            name = str(file.relative_to(ROOT))
            if name not in allowed:
                assert "(durable=True" not in file.read_text(), f"{name}: move it to a service"


def test_nobody_listens_to_delete_signals() -> None:
    """The database cascades without them, so whoever relies on one is wrong."""
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            names = {
                node.id
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Name)
            }
            assert not names & {"post_delete", "pre_delete", "post_save"}, file


def test_names_tell_what_things_are() -> None:
    banned = ("Handler", "Service", "Helper", "Util")
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            assert "util" not in file.stem, f"{file}: name it after what it holds"
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef):
                    assert not node.name.endswith(banned), f"{file}: {node.name}"
