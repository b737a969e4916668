from django.contrib.admin import AdminSite


class SextonAdminSite(AdminSite):
    site_title = "Sexton"
    site_header = "Sexton"
    index_title = "Accounts and deletions"
