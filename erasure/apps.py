from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ErasureConfig(AppConfig):
    name = "erasure"
    verbose_name = "Deletions"

    def ready(self) -> None:
        autodiscover_modules("policies")
