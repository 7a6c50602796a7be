"""The spaces of a dataset: one for each output of each of its encoders. One of them is the default.

People add and delete encoders, with all spaces of each; the default is one space, and answers queries by example.
"""

from __future__ import annotations

from contextlib import suppress

from django.db import IntegrityError, OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from datasets import jobs
from datasets.errors import Conflict, Refused
from datasets.models import Dataset

from . import coverage, encoders, indexing, pending, vectors
from .encoders import EncoderSpec, EncoderUnavailable, Output
from .models import UPLOADED, EmbeddingSpace, PendingEmbedding

State = EmbeddingSpace.State

# Dropping a partition waits for the searches that read it, and those that begin meanwhile wait for the drop.
_DROP_PATIENCE_S = 5


class NoLanguageSpace(Conflict):
    """Words were to be compared with vectors that words cannot be turned into."""


class NoImageSpace(Conflict):
    """An image was to be compared with vectors that images cannot be turned into."""


class SpaceNotReady(Conflict):
    """The space that would answer has no vectors yet, or its encoder cannot be used."""


class SpaceInUse(Conflict):
    """The space cannot go, or cannot be added: it is there and needed."""


class Incomplete(Conflict):
    """The space lacks too much to become the default."""


# Making --------------------------------------------------------------------------------------------------------------


def choose_encoder(modality: str, name: str | None) -> str:
    """The encoder for a dataset: ``name``, or the default of ``modality``. Raises ``Refused``."""
    if not name:
        return encoders.default_for(modality)
    try:
        spec = encoders.spec(name)
    except encoders.UnknownEncoder as error:
        raise Refused(str(error)) from error
    if modality not in spec.modalities or (spec.outputs and not _fitting(spec, modality)):
        raise Refused(
            f"The encoder “{name}” cannot read {modality}s. Choose one of: "
            + ", ".join(one.name for one in encoders.all_specs() if modality in one.modalities)
            + "."
        )
    if reason := encoders.why_unavailable(name):
        raise Refused(f"The encoder “{name}” cannot be used here. {reason}")
    return name


def _fitting(spec: EncoderSpec, modality: str) -> list[Output]:
    """The outputs that items of ``modality`` fill."""
    return [output for output in spec.outputs if modality in output.accepts]


@transaction.atomic
def make_spaces(dataset: Dataset, encoder: str) -> list[EmbeddingSpace]:
    """The spaces of ``encoder``: with their partitions when its outputs are known, else one placeholder that
    ``complete_spaces`` fills in. Those of the dataset's first encoder hold its default. Raises ``SpaceInUse``."""
    lock_dataset(dataset)
    if dataset.spaces.filter(encoder=encoder).exists():
        raise SpaceInUse(f"“{dataset.name}” has the encoder “{encoder}” already.")
    is_first = not dataset.spaces.exists()
    outputs = _fitting(encoders.spec(encoder), dataset.modality)
    if not outputs:
        made = [_make(dataset, encoder, Output("", 0, frozenset()), State.PREPARING)]
    else:
        made = [_make(dataset, encoder, output, State.READY) for output in outputs]
    if is_first:
        make_default(made[0])
    return made


def complete_spaces(dataset: Dataset, spec: EncoderSpec) -> None:
    """The encoder is here: its spaces take vectors from now on. Those that ask for vectors meanwhile wait until then,
    so that no item is forgotten. Raises ``EncoderUnavailable`` when what it makes does not fit.
    """
    outputs = _fitting(spec, dataset.modality)
    if not outputs:
        raise EncoderUnavailable(f"“{spec.name}” makes no vectors from {dataset.modality}s. Choose another encoder.")
    with pending.alone(dataset.pk, is_patient=True), transaction.atomic():
        spaces = list(dataset.spaces.select_for_update().filter(encoder=spec.name))
        if not spaces:
            return  # deleted meanwhile
        by_output = {space.output: space for space in spaces}
        placeholder = by_output.get("")
        for output in outputs:
            space = by_output.get(output.name)
            if space is None and placeholder is not None:
                _fill_in(placeholder, output)
                placeholder = None
            elif space is None:
                _make(dataset, spec.name, output, State.READY)
            elif space.dimension != output.dimension:
                raise EncoderUnavailable(
                    f"“{spec.name}” makes vectors of {output.dimension} numbers now; its space holds those of "
                    f"{space.dimension}. Delete the encoder from the dataset and add it again."
                )
        dataset.spaces.filter(encoder=spec.name).update(state=State.READY, problem="")


def _make(dataset: Dataset, encoder: str, output: Output, state: EmbeddingSpace.State) -> EmbeddingSpace:
    space = EmbeddingSpace(
        dataset=dataset,
        encoder=encoder,
        output=output.name,
        dimension=output.dimension,
        accepts=sorted(output.accepts),
        state=state,
    )
    try:
        with transaction.atomic():
            space.save()
    except IntegrityError as error:
        raise SpaceInUse(f"“{dataset.name}” has the encoder “{encoder}” already.") from error
    if not space.is_placeholder:
        vectors.create_partition(space)
    return space


def _fill_in(space: EmbeddingSpace, output: Output) -> None:
    space.output, space.dimension, space.accepts = output.name, output.dimension, sorted(output.accepts)
    space.save(update_fields=["output", "dimension", "accepts"])
    vectors.create_partition(space)


def lock_dataset(dataset: Dataset) -> None:
    """One at a time adds encoders to the dataset, deletes them, or moves its default; items may come meanwhile."""
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)


# Deleting ------------------------------------------------------------------------------------------------------------


def delete_spaces(dataset: Dataset, encoder: str) -> None:
    """Delete all spaces of ``encoder`` with their vectors, and cancel what fills them.

    Waits until no worker has a claim on the dataset. Raises ``SpaceInUse`` for the default's encoder, and
    ``pending.Busy``.
    """
    _refuse_to_delete_the_default(dataset, encoder)
    # In a transaction of its own: the workers that are waited for below may want the job's rows.
    for job in pending.embed_jobs(dataset, encoder):
        with suppress(jobs.JobIsOver):  # it ended this moment: nothing is left to cancel
            jobs.cancel(job)
    for space in dataset.spaces.filter(encoder=encoder):
        indexing.cancel(space)
    try:
        with pending.alone(dataset.pk), transaction.atomic(), connection.cursor() as cursor:
            lock_dataset(dataset)
            _refuse_to_delete_the_default(dataset, encoder)
            spaces = list(dataset.spaces.select_for_update().filter(encoder=encoder))
            dropped = pending.drop(dataset, encoder)
            cursor.execute(f"SET LOCAL lock_timeout = '{_DROP_PATIENCE_S}s'")
            for space in spaces:
                vectors.drop_partition(space)
                space.delete()
            # Last: an import holds its phases only until it is done with the partitions.
            for job_id, phase, number in dropped:
                jobs.advance(job_id, phase, total=-number)
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise pending.Busy("The vectors are being searched at the moment. Try again in a minute.") from error
    for job_id in {job_id for job_id, _, _ in dropped}:
        jobs.settle(job_id)


def _refuse_to_delete_the_default(dataset: Dataset, encoder: str) -> None:
    if not dataset.spaces.filter(encoder=encoder, is_default=True).exists():
        return
    others = dataset.spaces.exclude(encoder=encoder)
    if others.filter(state=State.READY).exists():
        raise SpaceInUse(f"“{encoder}” holds the default space. Make another space the default first, then delete it.")
    raise SpaceInUse(
        f"“{encoder}” is the only encoder of “{dataset.name}” that can answer. Add another one, make its space the "
        "default when it is complete, then delete this."
    )


@transaction.atomic
def create_uploaded(dataset: Dataset, name: str, dimension: int) -> EmbeddingSpace:
    """A space for vectors that are computed elsewhere, so that nothing can be turned into one here.

    Raises ``Refused`` for a name that cannot be, ``Conflict`` for one that is taken.
    """
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise Refused("A space's name has 1 to 100 characters that can be printed.")
    taken = EmbeddingSpace.objects.filter(dataset=dataset, encoder=UPLOADED + name).first()
    if taken is not None:
        raise Conflict(f"“{dataset.name}” has a space “{name}” already. Send space={taken.pk} to write into it.")
    space = EmbeddingSpace.objects.create(
        dataset=dataset, encoder=UPLOADED + name, output="vectors", dimension=dimension, accepts=[]
    )
    vectors.create_partition(space)
    return space


@transaction.atomic
def drop_spaces(dataset: Dataset) -> None:
    PendingEmbedding.objects.filter(dataset=dataset).delete()
    for space in EmbeddingSpace.objects.filter(dataset=dataset):
        vectors.drop_partition(space)
        space.delete()


def forget_items(dataset: Dataset, item_ids: list[int]) -> None:
    """Delete the vectors of items that go."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM search_embedding WHERE space_id IN (SELECT id FROM search_embeddingspace WHERE dataset_id = %s)"
            " AND item_id = ANY(%s)",
            [dataset.pk, item_ids],
        )


# The default ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def choose_default(space: EmbeddingSpace, *, when_complete: bool = False) -> None:
    """Make ``space`` the default: now, or as soon as it is complete. Raises ``Refused``, ``SpaceNotReady``,
    ``Incomplete``."""
    dataset = space.dataset
    lock_dataset(dataset)
    space.refresh_from_db()
    if space.is_default:
        return
    if space.state == State.FAILED:
        raise _not_ready(space, "It cannot become the default.")
    if not space.is_placeholder and not space.is_uploaded and dataset.modality not in space.accepts:
        raise Refused(f"{space.encoder}/{space.output} holds no vectors of {dataset.modality}s. Choose another space.")
    if space.is_uploaded:
        make_default(space)  # complete as far as it will ever be: nobody fills it here
        return
    lacking = coverage.missing(space) if space.state == State.READY else None
    if lacking == 0:
        make_default(space)
    elif when_complete:
        _wait_for(space)
    elif lacking is None:
        raise _not_ready(space, "Have it take over when it is complete (when_complete).")
    else:
        total = dataset.items.count()
        raise Incomplete(
            f"The space has {total - lacking:,} of {total:,} items; {lacking:,} are missing, and Find Similar would not "
            "find them. Wait, or have it take over when it is complete (when_complete)."
        )


def _wait_for(space: EmbeddingSpace) -> None:
    """At most one space waits to become the default: the one that was asked for last."""
    EmbeddingSpace.objects.filter(dataset=space.dataset_id, becomes_default=True).update(becomes_default=False)
    EmbeddingSpace.objects.filter(pk=space.pk).update(becomes_default=True)


@transaction.atomic
def give_up_default(space: EmbeddingSpace) -> None:
    """Let the space not take over when it is complete."""
    EmbeddingSpace.objects.filter(pk=space.pk).update(becomes_default=False)


def switch_defaults(dataset: Dataset) -> None:
    """Make the space that was asked to take over the default one, if it is complete."""
    waiting = EmbeddingSpace.objects.filter(dataset=dataset, becomes_default=True, state=State.READY)
    for space in waiting:
        if not PendingEmbedding.objects.filter(dataset=dataset, encoder=space.encoder, layer=None, reason="").exists():
            with transaction.atomic():
                lock_dataset(dataset)
                if waiting.filter(pk=space.pk).exists() and coverage.missing(space) == 0:
                    make_default(space)


def recover_defaults() -> None:
    """Switch what a worker that ended had no time to switch."""
    for dataset in Dataset.objects.filter(deleted_at=None, spaces__becomes_default=True).distinct():
        switch_defaults(dataset)


@transaction.atomic
def make_default(space: EmbeddingSpace) -> None:
    EmbeddingSpace.objects.filter(dataset=space.dataset_id, is_default=True).update(is_default=False)
    EmbeddingSpace.objects.filter(pk=space.pk).update(is_default=True, becomes_default=False)
    Dataset.objects.filter(pk=space.dataset_id).update(encoder=space.encoder)


# Choosing one for a query --------------------------------------------------------------------------------------------


def space_for(dataset: Dataset, *, words: bool, image: bool) -> EmbeddingSpace:
    """The space in which a query with words and/or an image can be answered, the default one first.

    By example alone, that is the default, whatever its state: what it holds can be compared (see ``must_be_ready``).
    Raises ``NoLanguageSpace``, ``NoImageSpace``, ``SpaceNotReady``.
    """
    # As a whole statement: every search asks for it, and to build it of objects would take longer than to answer it.
    spaces = list(
        EmbeddingSpace.objects.raw(
            "SELECT * FROM search_embeddingspace WHERE dataset_id = %s ORDER BY is_default DESC, id", [dataset.pk]
        )
    )
    needed = ({"text"} if words else set()) | ({"image"} if image else set())
    fitting = [space for space in spaces if needed <= set(space.accepts)]
    if fitting and fitting[0].is_default:
        # Another space would rank by other likeness without a word.
        if needed:
            must_be_ready(fitting[0])
        return fitting[0]
    if ready := [space for space in fitting if space.state == State.READY]:
        return ready[0]
    if waiting := fitting or [space for space in spaces if space.is_placeholder]:
        must_be_ready(waiting[0])
    if spaces and all(space.is_uploaded for space in spaces):
        refused = NoLanguageSpace if words else NoImageSpace
        raise refused(
            f"“{dataset.name}” can be searched by example only: its vectors were computed elsewhere, so words and pictures "
            "cannot be compared with them. Press s on an item, or add a space with an encoder."
        )
    if words:
        raise NoLanguageSpace(
            f"“{dataset.name}” cannot be searched in words: its encoder {dataset.encoder} makes no vectors from text. "
            "Search by example, or add an encoder that understands words, such as “starter” for images."
        )
    raise NoImageSpace(f"“{dataset.name}” holds texts; its encoder {dataset.encoder} makes no vectors from images.")


def must_be_ready(space: EmbeddingSpace) -> None:
    """Raises ``SpaceNotReady``, which says what is the matter and what to do."""
    if space.state != State.READY:
        raise _not_ready(space, "Nothing can be searched with it." if space.state == State.FAILED else "")


def _not_ready(space: EmbeddingSpace, consequence: str) -> SpaceNotReady:
    if space.state == State.FAILED:
        return SpaceNotReady(
            f"The encoder “{space.encoder}” has failed: {space.problem} {consequence} In Spaces, let it try again, or add "
            "another encoder and make that the default."
        )
    return SpaceNotReady(
        f"The encoder “{space.encoder}” is being fetched; nothing is embedded with it yet. "
        + (consequence or "Search as soon as it is here; the Spaces panel shows how far it is.")
    )
