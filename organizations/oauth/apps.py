from django.apps import AppConfig


class OAuthConfig(AppConfig):
    name = "organizations.oauth"
    label = "oauth"
    verbose_name = "OAuth"
