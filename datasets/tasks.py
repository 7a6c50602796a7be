"""Celery's way into the domain: one call each."""

from celery import shared_task

from . import columns, creation, jobs


@shared_task(queue="default")
def run_job(job_id: int) -> None:
    jobs.run(job_id)


@shared_task(queue="default", ignore_result=True)
def recover_jobs() -> None:
    jobs.recover()


@shared_task(queue="default", ignore_result=True)
def purge_deleted_datasets() -> None:
    creation.purge_deleted()


@shared_task(queue="default", ignore_result=True)
def forget_old_changes() -> None:
    columns.forget_old_changes()
