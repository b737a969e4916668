"""Makes the peers' tables and fills them with as many users as ours has.

Run as ``python -m benchmarks.peers.plain.prepare SUBJECTS BYSTANDERS FOLDER``.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.plain.settings"


def main() -> None:
    subjects, bystanders, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    from knox.models import AuthToken, get_digest_token
    from knox.settings import CONSTANTS

    from benchmarks.peers.plain.models import User, UserAPIKey

    now = timezone.now()
    users = [
        User(username=f"u{n}", email=f"u{n}@example.com", password="!", date_joined=now)
        for n in range(subjects + bystanders)
    ]
    User.objects.bulk_create(users, batch_size=5000)
    api_keys = [UserAPIKey(name="benchmark", user=user) for user in users]
    secrets = [UserAPIKey.objects.assign_key(key) for key in api_keys]
    UserAPIKey.objects.bulk_create(api_keys, batch_size=5000)
    tokens = [get_digest_token() for _ in users]
    AuthToken.objects.bulk_create(
        [
            AuthToken(
                digest=digest,
                token_key=token[: CONSTANTS.TOKEN_KEY_LENGTH],
                user=user,
                expiry=now + timedelta(days=1),
            )
            for user, (digest, token) in zip(users, tokens, strict=True)
        ],
        batch_size=5000,
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    chosen = list(zip(users, secrets, tokens, strict=True))[:subjects]
    for name, credential in (
        ("bare", lambda secret, token: ("", "")),
        ("apikey", lambda secret, token: ("Authorization", f"Api-Key {secret}")),
        ("knox", lambda secret, token: ("Authorization", f"Token {token}")),
    ):
        requests = []
        for user, secret, (_, token) in chosen:
            header, value = credential(secret, token)
            requests.append({"path": f"/{name}/{user.pk}", "header": header, "value": value})
        (folder / f"{name}.json").write_text(json.dumps(requests))


if __name__ == "__main__":
    main()
