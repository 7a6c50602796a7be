"""Detectors that are proposed by name. Others work as well.

Sizes are those of the files that are fetched, costs are relative to ViT-B/16 at 224 pixels, both from the models' pages.
"""

from __future__ import annotations

from dataclasses import replace

from search.encoders.base import Facts

from . import transformers_boxes, transformers_words
from .base import DetectorSpec


def specs() -> list[DetectorSpec]:
    return [
        replace(
            transformers_boxes.spec("transformers:PekingU/rtdetr_v2_r18vd"),
            title="RT-DETR v2, small",
            description="Finds the 80 kinds of things of COCO: people, vehicles, animals, furniture, food.",
            license="Apache-2.0",
            facts=Facts(dimension=0, megabytes=81, cost=1.7, is_recommended=True),
        ),
        replace(
            transformers_boxes.spec("transformers:PekingU/rtdetr_v2_r50vd"),
            title="RT-DETR v2",
            description="As the small one; finds more of what is small or half hidden, at half the speed.",
            license="Apache-2.0",
            facts=Facts(dimension=0, megabytes=172, cost=3.9),
        ),
        replace(
            transformers_words.spec("words:google/owlv2-base-patch16-ensemble"),
            title="OWLv2 base",
            description="Finds what you name in words. Slow on a CPU.",
            license="Apache-2.0",
            facts=Facts(dimension=0, megabytes=620, cost=24),
        ),
    ]
