"""Models that exist for one test only, with their table and their policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connection, models
from django.db.models import DB_CASCADE

from erasure import policies
from erasure.policies import policy

APP = "accounts"
"""The label that planted models go by: one of an installed app."""


@contextmanager
def planted(model: type[models.Model], **declaration: Any) -> Iterator[Any]:
    """Make a model's table and declare its policy; without a declaration it has none.

    Afterwards model and policy are forgotten. The table goes with the test's transaction, or is
    dropped where the test has none.
    """
    editor = connection.schema_editor()
    editor.deferred_sql = []
    sql, params = editor.table_sql(model)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        for statement in editor.deferred_sql:
            cursor.execute(str(statement))
    if declaration:
        policy(model._meta.label, **declaration)
    try:
        yield model
    finally:
        if not connection.in_atomic_block or not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute(f'DROP TABLE IF EXISTS "{model._meta.db_table}"')
        forget(model)


def forget(model: type[models.Model]) -> None:
    """Take a model out of the registry again."""
    policies._policies.pop(model._meta.label_lower, None)
    policies._version = next(policies._changes)
    apps.all_models[model._meta.app_label].pop(str(model._meta.model_name), None)
    apps.clear_cache()


def to_user(**options: Any) -> Any:
    return models.ForeignKey("accounts.User", DB_CASCADE, related_name="+", **options)
