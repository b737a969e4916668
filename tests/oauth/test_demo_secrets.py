"""What the demo makes up opens no production."""

from typing import Any

import pytest

from apikeys import keyformat
from organizations.oauth.tokens import make_client_secret
from tests.factories import ApplicationFactory
from tests.oauth.flow import call

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("is_production", "status"), [(False, 200), (True, 401)])
def test_production_refuses_a_secret_of_the_demo(
    settings: Any, is_production: bool, status: int
) -> None:
    settings.PRODUCTION = is_production
    secret = make_client_secret(for_demo=True)
    machine = ApplicationFactory(machine=True, client_secret=keyformat.digest(secret.text))
    form = {"client_id": machine.client_id, "client_secret": secret.text}
    answer = call("token", None, grant_type="client_credentials", **form)
    assert answer.status_code == status
