from django.apps import AppConfig


class EstateConfig(AppConfig):
    name = "benchmarks.estate"
    label = "estate"

    def ready(self) -> None:
        from benchmarks.estate import policies  # noqa: F401
