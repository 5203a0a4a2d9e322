from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = "Order desk"

    def ready(self) -> None:
        from orders import checks  # noqa: F401, PLC0415 - importing it registers the checks, which need the settings
