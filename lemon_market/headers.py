"""Security headers of every response; Django's own SecurityMiddleware adds the rest.

Pages may load nothing from other origins, may not be framed, and have no inline scripts. Content-Security-Policy (CSP level 3)
is as strict as each kind of page allows:

- Alpine, on which the back office's theme is built, compiles expressions from the pages' attributes ('unsafe-eval'), and
  both the theme and Swagger UI set style attributes ('unsafe-inline', for styles only).
- A response that is not a page may do nothing.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase

from orders.events.address import live_events_url

PERMISSIONS = ", ".join(f"{name}=()" for name in ("camera", "geolocation", "microphone", "payment", "usb", "browsing-topics"))
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; font-src 'self'"


class SecurityHeadersMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers["Content-Security-Policy"] = page_policy(request) if is_page else NOTHING
        response.headers["Permissions-Policy"] = PERMISSIONS
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        # Orders are private, so no cache may store them. Static files have their own header.
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def page_policy(request: HttpRequest) -> str:
    script, style = "'self'", "'self'"
    if request.path.startswith("/admin/"):
        script, style = "'self' 'unsafe-eval'", "'self' 'unsafe-inline'"
    elif request.path == "/docs":
        style = "'self' 'unsafe-inline'"
    return f"{PAGE}; script-src {script}; style-src {style}; connect-src 'self' {live_events_origin(request)}"


def live_events_origin(request: HttpRequest) -> str:
    try:
        address = urlsplit(live_events_url(request))
    except DisallowedHost:
        # The error page reports the wrong host, and connects to nothing.
        return ""
    return f"{address.scheme}://{address.netloc}"
