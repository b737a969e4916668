"""Whose an address is by now is looked up in the index, also by a plan that PostgreSQL keeps for
sets of every size."""

import pytest
from django.db import connection

from organizations.models import Invitation
from organizations.policies import not_taken_since
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_a_kept_plan_finds_living_addresses_by_their_index(vendor: str) -> None:
    if vendor != "postgresql":
        pytest.skip("SQLite keeps no plans")
    leaver = UserFactory.create()
    UserFactory.create_batch(300)
    users = type(leaver)._default_manager.filter(pk__in=[leaver.pk])
    text, params = Invitation.objects.filter(not_taken_since(users)).query.sql_with_params()
    types = ", ".join("text" if isinstance(one, str) else "uuid" for one in params)
    for number in range(len(params)):
        text = text.replace("%s", f"${number + 1}", 1)
    spelled = ", ".join(f"'{one}'" for one in params)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_user")
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"PREPARE addresses ({types}) AS {text}")
        cursor.execute(f"EXPLAIN EXECUTE addresses ({spelled})")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("DEALLOCATE addresses")
    assert "live_email_is_unique" in plan
