"""``GET /.well-known/jwks.json``: the keys that receipts and checkpoints of the audit log
are verified with (RFC 7517)."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from erasure import signing


@require_safe
def key_set(request: HttpRequest) -> HttpResponse:
    """Answer with the public keys, the present ones first. Any JOSE library reads it."""
    response = JsonResponse(signing.key_set(), content_type="application/jwk-set+json")
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response
