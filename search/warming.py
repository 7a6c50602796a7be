"""Reading columns, encoders and indexes into memory before somebody waits for them."""

from __future__ import annotations

import threading
import time

import structlog
from django.db import DatabaseError, connections

from datasets import columns
from datasets.models import PredictionModel

from . import encoders, indexing, matrix, understanding
from .encoders import runtime
from .encoders.base import EncoderError, EncoderUnavailable, UnknownEncoder
from .models import EmbeddingSpace

log = structlog.get_logger(__name__)

# After what a person sees first: the page, its pictures.
_DELAY_S = 8.0
# The speed of the machine is measured when the demo is likely to be over.
_QUIET_AFTER_S = 60.0


def load_default_encoders() -> None:
    """For a worker that embeds, in a thread: those of new datasets, so that a first import does not wait for them.
    Then, how fast the machine is."""
    threading.Thread(target=_load_defaults, daemon=True).start()


def load_encoders_later() -> None:
    """In a thread of this process: columns of datasets and the encoders of the spaces that take words are read into memory, and
    the one that compares nouns with what is detected; then the indexes."""
    timer = threading.Timer(_DELAY_S, _load_for_searches)
    timer.daemon = True
    timer.start()


def _load_defaults() -> None:
    for modality in ("image", "text"):
        try:
            encoders.get(encoders.default_for(modality))
        except (EncoderError, EncoderUnavailable) as error:
            log.warning("encoder_not_loaded", modality=modality, reason=str(error))
    time.sleep(_QUIET_AFTER_S)
    runtime.measure_speed()


def _load_for_searches() -> None:
    try:
        columns.warm()
        _load_encoders()
        indexing.warm()
        matrix.warm()
    except DatabaseError as error:
        # Whoever searches or filters will meet it again, and be told.
        log.warning("not_warmed", reason=str(error))
    finally:
        connections.close_all()


def _load_encoders() -> None:
    try:
        ready = EmbeddingSpace.objects.filter(state=EmbeddingSpace.State.READY, accepts__contains=["text"])
        names = set(ready.values_list("encoder", flat=True))
        if PredictionModel.objects.exists():
            names.add(understanding.ENCODER)
            understanding.inflections()
        for name in names:
            encoders.get(name).encode_texts(["a photo"])
    except (EncoderError, EncoderUnavailable, UnknownEncoder) as error:
        # A search will meet it again, and tell whoever searched.
        log.warning("encoder_not_loaded", reason=str(error))
