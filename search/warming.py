"""Loading what the first search in plain words needs before somebody waits for it."""

from __future__ import annotations

import threading

import structlog
from django.db import DatabaseError, connections

from . import encoders
from .encoders.base import EncoderError, EncoderUnavailable, UnknownEncoder
from .models import EmbeddingSpace

log = structlog.get_logger(__name__)

# After what a person sees first: the page, its pictures.
_DELAY_S = 8.0


def load_encoders_later() -> None:
    """In a thread of this process: the encoders of the spaces that take words are read into memory."""
    timer = threading.Timer(_DELAY_S, _load_encoders)
    timer.daemon = True
    timer.start()


def _load_encoders() -> None:
    try:
        names = set(EmbeddingSpace.objects.filter(accepts__contains=["text"]).values_list("encoder", flat=True))
        for name in names:
            encoders.get(name).encode_texts(["a photo"])
    except (DatabaseError, EncoderError, EncoderUnavailable, UnknownEncoder) as error:
        # A search will meet it again, and tell whoever searched.
        log.warning("encoder_not_loaded", reason=str(error))
    finally:
        connections.close_all()
