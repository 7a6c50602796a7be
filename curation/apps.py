from django.apps import AppConfig


class CurationConfig(AppConfig):
    name = "curation"
    verbose_name = "Kindred"

    def ready(self) -> None:
        from . import celery  # noqa: F401  (every process that sends a task needs to know the broker)
