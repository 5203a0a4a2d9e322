from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = "Order desk"

    def ready(self) -> None:
        from orders import checks  # noqa: F401, PLC0415 - importing registers them, which needs settings that are ready
