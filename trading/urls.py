from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from trading import views

urlpatterns = [
    path("", views.page, name="trading"),
    path("cancel/<uuid:order_id>", views.cancel, name="cancel"),
    path("exchange/close", views.exchange, {"wish": "close"}, name="close_exchange"),
    path("exchange/open", views.exchange, {"wish": "open"}, name="open_exchange"),
    path("login", LoginView.as_view(template_name="trading/login.html", redirect_authenticated_user=True), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
]
