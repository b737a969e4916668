from collections.abc import Iterator
from typing import Any

import pytest

from tests.billing.fakestripe import KEY, FakeStripe, serve_stripe


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    """A Stripe of one's own, which the settings lead to."""
    with serve_stripe() as fake:
        settings.STRIPE_API_BASE, settings.STRIPE_API_KEY = fake.url, KEY
        settings.STRIPE_TIMEOUT = 60.0
        yield fake
