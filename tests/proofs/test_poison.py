"""Of many who are due, one cannot be erased: the others go, and that one is named."""

import json
import random
from io import StringIO

import pytest
from django.core.management import call_command

from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched, read_rows
from tests.proofs.people import find_faults, make_people
from tests.proofs.poison import heal, poison
from tests.proofs.sizes import POISONED

pytestmark = pytest.mark.django_db(transaction=True)


@POISONED
def test_all_but_the_poisoned_one_finish(size: int) -> None:
    with charlie_untouched():
        people = make_people(size)
        bad = random.Random(f"poison of {size}").choice(people)
        poison(bad.id)
        try:
            out = StringIO()
            with pytest.raises(SystemExit, match="1"):
                call_command("purge_accounts", execute=True, json=True, stdout=out)
            told = json.loads(out.getvalue())
            failed = DeletionRequest.objects.get(pk=bad.deletion_id)
            assert [it["deletion"] for it in told["failed"]] == [str(bad.deletion_id)]
            assert len(told["subjects"]) == size - 1
            assert (failed.state, failed.attempts, failed.counts) == ("failed", 1, {})
            assert failed.last_error
            assert failed.retry_at
            assert set(find_faults(people)) == {bad.id}
            before = read_rows()
        finally:
            heal()
        # Nothing keeps it any more: the next try ends what this one could not.
        DeletionRequest.objects.filter(pk=bad.deletion_id).update(retry_at=None)
        call_command("purge_accounts", execute=True, json=True, stdout=StringIO())
        assert find_faults(people) == {}
        assert len(before["accounts.User"]) - len(read_rows()["accounts.User"]) == 1
