"""Encoders that are proposed by name. Others work as well; these are known to be worth their time.

Sizes are those of the files that are fetched, costs are relative to ViT-B/16 at 224 pixels (17.6 billion multiply-adds
an image; for texts: so many multiply-adds a text of 128 tokens). Both from the models' pages and papers.
"""

from __future__ import annotations

from dataclasses import replace

from . import sentences, timm_images, transformers_images, transformers_joint
from .base import EncoderSpec, Facts


def specs() -> list[EncoderSpec]:
    return [
        _of(
            transformers_joint.spec("joint:google/siglip2-base-patch16-224"),
            "SigLIP 2 base",
            "Finds pictures by plain words in many languages, and by likeness. The best choice for most photographs.",
            "Apache-2.0",
            Facts(dimension=768, megabytes=1500, cost=1.0, is_recommended=True),
        ),
        _of(
            transformers_joint.spec("joint:openai/clip-vit-base-patch32"),
            "CLIP ViT-B/32",
            "Finds pictures by plain English words, and by likeness. Four times as quick as SigLIP 2, and less exact.",
            "MIT",
            Facts(dimension=512, megabytes=605, cost=0.25),
        ),
        _of(
            transformers_images.spec("images:facebook/dinov2-base"),
            "DINOv2 base",
            "Finds pictures that look alike, down to fine details of shape and texture. Understands no words.",
            "Apache-2.0",
            Facts(dimension=768, megabytes=346, cost=1.3),
        ),
        _of(
            transformers_images.spec("images:facebook/dinov2-small"),
            "DINOv2 small",
            "As DINOv2 base, four times as quick and a little less exact. Understands no words.",
            "Apache-2.0",
            Facts(dimension=384, megabytes=88, cost=0.33),
        ),
        _of(
            transformers_images.spec("images:facebook/dinov3-vits16-pretrain-lvd1689m"),
            "DINOv3 small",
            "Finds pictures that look alike; newer than DINOv2. Its terms must be accepted on its page first (HF_TOKEN).",
            "DINOv3 License",
            Facts(dimension=384, megabytes=86, cost=0.27),
        ),
        _of(
            timm_images.spec("timm:vgg16"),
            "VGG-16",
            "Texture and style more than meaning: a classic for near duplicates and materials. Long vectors.",
            "BSD-3-Clause",
            Facts(dimension=4096, megabytes=553, cost=0.9),
        ),
        _of(
            timm_images.spec("timm:resnet50"),
            "ResNet-50",
            "The classic that many results are compared with.",
            "Apache-2.0",
            Facts(dimension=2048, megabytes=102, cost=0.3),
        ),
        _of(
            timm_images.spec("timm:inception_v3"),
            "Inception-v3",
            "What FID is computed with; looks at 299 pixels.",
            "BSD-3-Clause",
            Facts(dimension=2048, megabytes=95, cost=0.45),
        ),
        _of(
            timm_images.spec("timm:efficientnet_b0"),
            "EfficientNet-B0",
            "Small and quick; finds pictures of the same kind of thing.",
            "Apache-2.0",
            Facts(dimension=1280, megabytes=21, cost=0.12),
        ),
        _of(
            timm_images.spec("timm:vit_base_patch16_224"),
            "ViT-B/16",
            "A transformer trained on the 21,000 classes of ImageNet.",
            "Apache-2.0",
            Facts(dimension=768, megabytes=346, cost=1.0),
        ),
        _of(
            sentences.spec("sentences:sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"),
            "Multilingual MiniLM",
            "Finds texts that mean the same in more than fifty languages. Quick.",
            "Apache-2.0",
            Facts(dimension=384, megabytes=471, cost=0.16, is_recommended=True),
        ),
        _of(
            sentences.spec("sentences:BAAI/bge-m3"),
            "BGE-M3",
            "Finds long texts, up to 8,192 tokens in one piece, in more than a hundred languages. Slow on a CPU.",
            "MIT",
            Facts(dimension=1024, megabytes=2271, cost=2.2),
        ),
    ]


def _of(spec: EncoderSpec, title: str, description: str, license: str, facts: Facts) -> EncoderSpec:
    return replace(spec, title=title, description=description, license=license, facts=facts)
