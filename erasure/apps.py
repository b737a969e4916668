from importlib import import_module

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ErasureConfig(AppConfig):
    name = "erasure"
    verbose_name = "Deletions"

    def ready(self) -> None:
        for name in ("contrib", "records"):
            import_module(f"erasure.{name}")
        autodiscover_modules("policies")
