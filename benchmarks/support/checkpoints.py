"""Encoders of the usual sizes with random weights, in the files that real ones have. Their speed is that of real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.encoders import torchvision_operators

from .texts import short_texts

torchvision_operators.make_importable()

import torch  # noqa: E402
import transformers as typed_transformers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

# Its types know neither all arguments of its configurations nor their defaults.
transformers: Any = typed_transformers

# Those of `_tokenizer`.
_TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def clip(folder: Path) -> None:
    torch.manual_seed(0)
    # The defaults are ViT-B/32.
    transformers.CLIPModel(transformers.CLIPConfig(text_config=_TOKENS)).save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    _tokenizer(77).save_pretrained(folder)


def siglip(folder: Path) -> None:
    torch.manual_seed(0)
    # … base, patch 16.
    transformers.SiglipModel(transformers.SiglipConfig(text_config=_TOKENS)).save_pretrained(folder)
    transformers.SiglipImageProcessorPil().save_pretrained(folder)
    _tokenizer(64).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    torch.manual_seed(0)
    # … base, patch 14, for images of 518 pixels, which the published processor crops to 224.
    config = transformers.Dinov2Config(image_size=518, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    transformers.BitImageProcessorPil(**size, resample=3).save_pretrained(folder)


def vit(folder: Path) -> None:
    torch.manual_seed(0)
    # … base, patch 16.
    transformers.ViTModel(transformers.ViTConfig()).save_pretrained(folder)
    transformers.ViTImageProcessorPil().save_pretrained(folder)


def _tokenizer(tokens: int) -> Any:
    """A token a word, of those in the texts that benchmarks run on."""
    words = ["<pad>", "<unk>", "<s>", "</s>", *sorted({word for text in short_texts(2000) for word in text.split()})]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=tokens,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


# By the name that the product gives it.
USUAL: dict[str, Callable[[Path], None]] = {
    "joint:clip-vit-base-patch32": clip,
    "images:vit-base-patch16": vit,
    "images:dinov2-base": dinov2,
    "joint:siglip-base-patch16": siglip,
}
