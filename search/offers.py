"""What can be chosen from here: encoders and detectors, what each would have to fetch, how fast it would be, and why one
cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from . import detectors, encoders, weights
from .detectors.base import DetectorSpec
from .encoders import EncoderSpec, runtime


@dataclass(frozen=True)
class Offer:
    is_here: bool  # whether it can be used without fetching anything
    megabytes: int | None  # to be fetched; 0 for what is here, None where nobody has said
    per_second: float | None  # items on this machine, about; None until its speed has been measured
    is_recommended: bool
    reason: str  # why it cannot be used, "" when it can


def of_encoder(spec: EncoderSpec) -> Offer:
    return _offer(spec, encoders.why_unavailable(spec.name))


def of_detector(spec: DetectorSpec) -> Offer:
    return _offer(spec, detectors.why_unavailable(spec.name))


def megabytes(spec: EncoderSpec | DetectorSpec) -> int | None:
    """To be fetched; 0 for what is here, None where nobody has said."""
    return 0 if spec.is_here() else spec.facts.megabytes if spec.facts else None


def _offer(spec: EncoderSpec | DetectorSpec, reason: str) -> Offer:
    is_here = not reason and spec.is_here()
    if not reason and not is_here and not weights.hub_is_reachable():
        reason = (
            "Its weights are not on this machine, and the Hugging Face hub cannot be reached from here. Connect it, or copy "
            f"the model's folder to {weights.folder()}."
        )
    rate = runtime.transformer_rate()
    return Offer(
        is_here=is_here,
        megabytes=megabytes(spec),
        per_second=rate / spec.facts.cost if rate and spec.facts else None,
        is_recommended=bool(spec.facts and spec.facts.is_recommended),
        reason=reason,
    )
