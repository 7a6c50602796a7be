from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "search"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Search"

    def ready(self) -> None:
        from . import wiring  # noqa: F401  (registers what `datasets` calls without knowing us)
