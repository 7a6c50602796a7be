"""Celery's way into the search domain: one call each."""

from celery import shared_task

from . import embedding, indexing, matrix


@shared_task(queue="embed")
def embed_pending(dataset_id: int) -> None:
    embedding.embed_pending(dataset_id)


@shared_task(queue="default", ignore_result=True)
def recover_embedding() -> None:
    embedding.recover()


@shared_task(queue="default", ignore_result=True)
def maintain_indexes() -> None:
    indexing.maintain()


@shared_task(queue="default", ignore_result=True)
def forget_changed_vectors() -> None:
    matrix.forget_old_changes()
