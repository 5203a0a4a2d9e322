from django.apps import AppConfig


class LemonMarketConfig(AppConfig):
    name = "lemon_market"

    def ready(self) -> None:
        from lemon_market import checks  # noqa: F401, PLC0415 - registers them
