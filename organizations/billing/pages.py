"""Where Stripe tells of changes: ``POST /billing/stripe``, signed by Stripe's own scheme.

It only keeps the state that members read up to date. Nothing is cancelled or confirmed by it.
"""

from django.conf import settings
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from organizations.billing.stripe_api import read_event
from organizations.billing.subscriptions import hear


@csrf_exempt
@require_POST
def hear_stripe(request: HttpRequest) -> JsonResponse:
    """Answer 200 to whatever is genuine, news or not, for Stripe sends anything else again."""
    if not settings.STRIPE_WEBHOOK_SECRET:
        raise Http404
    event = read_event(request.body, request.headers.get("Stripe-Signature", ""))
    if event is None:
        return JsonResponse({"received": False}, status=400)
    hear(event)
    return JsonResponse({"received": True})
