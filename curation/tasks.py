from celery import shared_task
from django.contrib.auth.models import User


@shared_task(queue="default")
def create_demo(user_id: int) -> None:
    # Only here: it loads a library of pictures that nothing else needs.
    from datasets.demo import create_demo as create

    create(User.objects.get(pk=user_id))
