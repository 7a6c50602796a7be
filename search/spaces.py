"""The spaces of a dataset: made with it, one for each output of its encoder."""

from __future__ import annotations

from django.db import connection, transaction

from datasets.errors import Conflict, Refused
from datasets.models import Dataset

from . import encoders, pending, vectors
from .models import UPLOADED, EmbeddingSpace, PendingEmbedding


class NoLanguageSpace(Conflict):
    """Words were to be compared with vectors that words cannot be turned into."""


class NoImageSpace(Conflict):
    """An image was to be compared with vectors that images cannot be turned into."""


def choose_encoder(modality: str, name: str | None) -> str:
    """The encoder for a new dataset: ``name``, or the default of ``modality``. Raises ``Refused``."""
    if not name:
        return encoders.default_for(modality)
    try:
        spec = encoders.spec(name)
    except encoders.UnknownEncoder as error:
        raise Refused(str(error)) from error
    if modality not in spec.modalities:
        raise Refused(
            f"The encoder “{name}” cannot read {modality}s. Choose one of: "
            + ", ".join(one.name for one in encoders.all_specs() if modality in one.modalities)
            + "."
        )
    return name


@transaction.atomic
def create_spaces(dataset: Dataset) -> list[EmbeddingSpace]:
    """One space, with its partition, for every output of the dataset's encoder; the first is the default."""
    spaces = []
    for index, output in enumerate(encoders.spec(dataset.encoder).outputs):
        space = EmbeddingSpace.objects.create(
            dataset=dataset,
            encoder=dataset.encoder,
            output=output.name,
            dimension=output.dimension,
            accepts=sorted(output.accepts),
            is_default=index == 0,
        )
        vectors.create_partition(space)
        spaces.append(space)
    return spaces


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


@transaction.atomic
def switch_defaults(dataset: Dataset) -> None:
    """Make the space that was asked to take over the default one, if it is complete."""
    waiting = EmbeddingSpace.objects.filter(dataset=dataset, becomes_default=True, state=EmbeddingSpace.State.READY)
    for space in waiting:
        if not PendingEmbedding.objects.filter(dataset=dataset, encoder=space.encoder, reason="").exists():
            make_default(space)


@transaction.atomic
def make_default(space: EmbeddingSpace) -> None:
    EmbeddingSpace.objects.filter(dataset=space.dataset_id, is_default=True).update(is_default=False)
    EmbeddingSpace.objects.filter(pk=space.pk).update(is_default=True, becomes_default=False)


@transaction.atomic
def try_again(space: EmbeddingSpace) -> int:
    """Let the encoder of a failed space try once more, and what it could not embed. How many items that are."""
    EmbeddingSpace.objects.filter(dataset=space.dataset_id, encoder=space.encoder).update(
        state=EmbeddingSpace.State.READY, problem=""
    )
    again = pending.try_again(space.dataset, space.encoder)
    return again + pending.enqueue(space.dataset, job=None, encoder=space.encoder)


def forget_items(dataset: Dataset, item_ids: list[int]) -> None:
    """Delete the vectors of items that go."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM search_embedding WHERE space_id IN (SELECT id FROM search_embeddingspace WHERE dataset_id = %s)"
            " AND item_id = ANY(%s)",
            [dataset.pk, item_ids],
        )


def default_space(dataset: Dataset) -> EmbeddingSpace:
    return EmbeddingSpace.objects.get(dataset=dataset, is_default=True)


def space_for(dataset: Dataset, *, words: bool, image: bool) -> EmbeddingSpace:
    """The space in which a query with words and/or an image can be answered, the default one first.

    Raises ``NoLanguageSpace``, ``NoImageSpace``.
    """
    spaces = list(EmbeddingSpace.objects.filter(dataset=dataset).order_by("-is_default", "id"))
    needed = ({"text"} if words else set()) | ({"image"} if image else set())
    for space in spaces:
        if needed <= set(space.accepts):
            return space
    if spaces and all(space.is_uploaded for space in spaces):
        refused = NoLanguageSpace if words else NoImageSpace
        raise refused(
            f"“{dataset.name}” can be searched by example only: its vectors were computed elsewhere, so words and pictures "
            "cannot be compared with them. Press s on an item, or add a space with an encoder."
        )
    if words:
        raise NoLanguageSpace(
            f"“{dataset.name}” cannot be searched in words: its encoder {dataset.encoder} makes no vectors from text. "
            "Search by example, or import it into a dataset with a joint encoder such as “starter”."
        )
    raise NoImageSpace(f"“{dataset.name}” holds texts; its encoder {dataset.encoder} makes no vectors from images.")
