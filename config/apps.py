from django.contrib.admin.apps import AdminConfig


class SextonAdminConfig(AdminConfig):
    default_site = "config.site.SextonAdminSite"
