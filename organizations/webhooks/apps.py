from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "organizations.webhooks"
    label = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from audit.listeners import listen
        from erasure.notified import register_notifier
        from organizations.webhooks.events import EVENT_OF
        from organizations.webhooks.outbox import hear
        from organizations.webhooks.recipients import tell_of

        listen(hear, to=EVENT_OF)
        register_notifier("webhooks", tell_of)
