from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "organizations.billing"
    label = "billing"

    def ready(self) -> None:
        from organizations.billing import alarms

        alarms.register()
