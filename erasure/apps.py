from importlib import import_module

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class ErasureConfig(AppConfig):
    name = "erasure"
    verbose_name = "Deletions"

    def ready(self) -> None:
        for name in ("contrib", "records", "retention"):
            import_module(f"erasure.{name}")
        autodiscover_modules("policies", "chores", "refusals")
        from erasure import checkpoints
        from erasure.catalogue import check_catalogue
        from erasure.checks import check_policies
        from erasure.gate import mark_new_database
        from erasure.indexes import make_missing_indexes
        from erasure.keycheck import check_key

        checkpoints.register()
        checks.register(check_policies, checks.Tags.models)
        checks.register(check_key)
        checks.register(check_catalogue, checks.Tags.database)
        post_migrate.connect(make_missing_indexes, sender=self)
        post_migrate.connect(mark_new_database, sender=self)
