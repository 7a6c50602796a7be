"""Adding an encoder to a dataset: its spaces at once, then a job that fetches it and asks for the vectors."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction

from datasets import jobs
from datasets.errors import Refused
from datasets.models import Dataset, Job, Modality

from . import encoders, fetching, layers, pending, spaces
from .encoders import EncoderUnavailable, UnknownEncoder
from .models import EmbeddingSpace

log = structlog.get_logger(__name__)


class AtWork(spaces.SpaceInUse):
    """A job is filling the space already."""


@transaction.atomic
def create_spaces(dataset: Dataset) -> None:
    """For a dataset just made, with no items yet: a job only when its encoder is to be fetched."""
    made = spaces.make_spaces(dataset, dataset.encoder)
    if any(space.is_placeholder for space in made):
        _start(dataset, dataset.encoder, by=dataset.created_by)


@transaction.atomic
def add_spaces(dataset: Dataset, encoder: str, *, by: Any, becomes_default: bool = False) -> Job:
    """Embed everything with ``encoder`` too, beside what is there; its first space takes over as default when complete,
    with ``becomes_default``. Raises ``Refused`` for an encoder that cannot serve, ``SpaceInUse`` when it is there.
    """
    made = spaces.make_spaces(dataset, spaces.choose_encoder(dataset.modality, encoder))
    if becomes_default:
        spaces.choose_default(made[0], when_complete=True)
    return _start(dataset, encoder, by=by)


@transaction.atomic
def try_again(space: EmbeddingSpace, *, by: Any) -> Job:
    """Let the encoder of the space try once more: to be fetched, and what it failed at or was kept from by a cancel.

    Raises ``AtWork``, ``Refused``.
    """
    if space.is_uploaded:
        raise Refused("These vectors were computed elsewhere, and no encoder makes them here. Upload those that lack.")
    dataset = space.dataset
    spaces.lock_dataset(dataset)
    if running := pending.embed_jobs(dataset, space.encoder):
        raise AtWork(f"Job {running[0].pk} is at “{space.encoder}” already. Wait until it is over, or cancel it.")
    return _start(dataset, space.encoder, by=by)


def _start(dataset: Dataset, encoder: str, *, by: Any) -> Job:
    _have_another_go(dataset, encoder)
    opens_files = dataset.modality == Modality.IMAGE
    phases = [fetching.PHASE, "thumbnails", "embed"] if opens_files else [fetching.PHASE, "embed"]
    job = jobs.create(dataset, Job.Kind.EMBED, by=by, phases=phases, params={"encoder": encoder})
    jobs.enqueue(job)
    return job


def _have_another_go(dataset: Dataset, encoder: str) -> None:
    failed = dataset.spaces.filter(encoder=encoder, state=EmbeddingSpace.State.FAILED)
    failed.update(state=EmbeddingSpace.State.PREPARING, problem="")


@jobs.runner(Job.Kind.EMBED)
def fill_spaces(job: Job) -> None:
    """Fetch the encoder, make its spaces ready, ask for every vector they lack. Called again, it asks for what is left.

    An encoder that cannot be had fails its spaces and this job, with the same sentence, and nothing else.
    """
    dataset, encoder = job.dataset, str(job.params["encoder"])
    if not dataset.spaces.filter(encoder=encoder).exists():
        jobs.fail(job.pk, f"The encoder “{encoder}” was deleted from “{dataset.name}”. Add it again to embed with it.")
        return
    _have_another_go(dataset, encoder)
    try:
        spec = fetching.fetch(job, encoder, encoders.prepare, unavailable=EncoderUnavailable)
        jobs.check_canceled(job)
        spaces.complete_spaces(dataset, spec)
    except (EncoderUnavailable, UnknownEncoder) as error:
        log.error("encoder_unusable", dataset=dataset.pk, encoder=encoder, reason=str(error))
        pending.give_up(dataset, encoder, str(error))
        return
    with transaction.atomic():
        jobs.check_canceled(job)  # and hold the job's row: a cancel waits, and finds what there is to withdraw
        pending.try_again(dataset, encoder, job=job)
        pending.enqueue(dataset, job=job, encoder=encoder)
        jobs.hand_out(job)
        layers.go_on_with(dataset, encoder)
    spaces.switch_defaults(dataset)
