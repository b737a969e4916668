"""``/sign-in`` and ``/sign-out``: for people who are asked to let an application act for them."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path

from contracts.throttling import GuessThrottle

TOO_MANY = "Too many attempts. Wait a minute, and try again."


class SignInPage(LoginView):
    """Django's own, slowed down for an address from which too many attempts come.

    It leads back to this site only, whatever ``next`` says.
    """

    template_name = "accounts/sign_in.html"
    next_page = "oauth-access"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        brake: Any = GuessThrottle()
        if request.method == "POST" and not brake.allow_request(request, self):
            context = self.get_context_data(form=AuthenticationForm(request), refusal=TOO_MANY)
            answer = self.render_to_response(context, status=429)
            answer.headers["Retry-After"] = str(int(brake.wait() or 1))
            return answer
        return super().dispatch(request, *args, **kwargs)


class SignOutPage(LogoutView):
    """Ends the session, on POST only, and leads to the sign-in page of the same site."""

    next_page = "sign-in"


urlpatterns = [
    path("sign-in", SignInPage.as_view(), name="sign-in"),
    path("sign-out", SignOutPage.as_view(), name="sign-out"),
]
