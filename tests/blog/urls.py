from django.contrib import admin
from django.urls import include, path

from erasure.keyset import key_set

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("erasure.pages")),
    path(".well-known/jwks.json", key_set),
]
