from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from lemon_market import health
from lemon_market.metrics import metrics

admin.site.index_title = "Back office"

handler400 = "orders.api.errors.bad_request"
handler404 = "orders.api.errors.not_found"
urlpatterns = [
    path("", include("orders.api.urls")),
    path("", include("trading.urls")),
    path("admin/", include("orders.admin.blotter")),
    path("admin/", admin.site.urls),
    re_path(r"^admin$", RedirectView.as_view(url="/admin/")),
    path("schema", SpectacularAPIView.as_view(authentication_classes=[], permission_classes=[]), name="schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema", authentication_classes=[], permission_classes=[])),
    path("health/live", health.live),
    path("metrics", metrics),
    path("health/ready", health.ready),
]
