"""Encoders with random weights, in the files that real ones have: small ones of transformers, real architectures of
timm's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.encoders import torchvision_operators

torchvision_operators.make_importable()

import timm  # noqa: E402
import torch  # noqa: E402
import transformers as typed_transformers  # noqa: E402
from timm.models import save_for_hf  # noqa: E402
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: E402

# Its types know neither all arguments of its configurations nor their defaults.
transformers: Any = typed_transformers

_WORDS = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "a",
    "photo",
    "of",
    "cat",
    "dog",
    "red",
    "car",
    "the",
    "sleeps",
    ".",
    "where",
]
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,?!"
_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def tokenizer(tokens: int) -> Any:
    """Knows a dozen words."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(_WORDS)}, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=tokens,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


def _towers(**text: Any) -> dict[str, Any]:
    return {
        "text_config": {**_TOWER, "vocab_size": len(_WORDS), "max_position_embeddings": 16} | text,
        "vision_config": {**_TOWER, "image_size": 64, "patch_size": 16},
    }


def clip(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.CLIPConfig(**_towers(bos_token_id=2, eos_token_id=3, pad_token_id=0), projection_dim=24)
    transformers.CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    transformers.CLIPImageProcessorPil(**size).save_pretrained(folder)
    tokenizer(16).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA card.\n")


def siglip(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.SiglipConfig(**_towers(projection_size=32))
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    tokenizer(16).save_pretrained(folder)


def siglip_of_2023(folder: Path) -> None:
    """With a SentencePiece model, as the first SigLIP has."""
    import sentencepiece

    siglip(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    sentences = ["a photo of a cat", "the red car sleeps here", "where is the dog, and why?", "two cats and a dog"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "spiece"),
        vocab_size=60,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    transformers.SiglipTokenizer(str(folder / "spiece.model"), model_max_length=32).save_pretrained(folder)
    _widen(folder, 80)


def siglip_of_2025(folder: Path) -> None:
    """As SigLIP 2 is published: its files name a tokenizer that does not lower the case."""
    siglip(folder)
    letters = {
        letter: number for number, letter in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_LETTERS])
    }
    made = transformers.Siglip2Tokenizer(vocab=letters, merges=[], model_max_length=32, padding_side="right")
    made.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "GemmaTokenizer"}))
    said = json.loads((folder / "tokenizer.json").read_text())
    said["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    (folder / "tokenizer.json").write_text(json.dumps(said))
    _widen(folder, 80)


def _widen(folder: Path, words: int) -> None:
    """Room for more words than ``siglip`` has."""
    torch.manual_seed(1)
    config = transformers.SiglipConfig(**_towers(projection_size=32, vocab_size=words, max_position_embeddings=32))
    transformers.SiglipModel(config).save_pretrained(folder)


def vit(folder: Path) -> None:
    """As classifiers are published: with a head, and without the layer that ViTModel pools with."""
    torch.manual_seed(1)
    config = transformers.ViTConfig(**_TOWER, image_size=64, patch_size=16)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.Dinov2Config(**_TOWER, image_size=98, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 96}, crop_size={"height": 84, "width": 84}, resample=3
    ).save_pretrained(folder)


def dinov3(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.DINOv3ViTConfig(**_TOWER, image_size=64, patch_size=16, num_register_tokens=2)
    transformers.DINOv3ViTModel(config).save_pretrained(folder)
    transformers.DINOv3ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def resnet(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 32, 48], depths=[1, 1, 2, 1])
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(folder)


def efficientnet(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.EfficientNetConfig(
        width_coefficient=0.5, depth_coefficient=0.5, image_size=64, hidden_dim=640
    )
    made = transformers.EfficientNetForImageClassification(config)
    for layer in made.modules():
        # As they come, they leave nothing of an image.
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(layer.weight)
        elif isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    made.save_pretrained(folder)
    transformers.EfficientNetImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def of_timm(name: str, folder: Path) -> None:
    torch.manual_seed(1)
    save_for_hf(timm.create_model(name, pretrained=False), str(folder), safe_serialization=True)


def bert(folder: Path) -> None:
    """A plain BERT, without what sentence-transformers adds: it takes the mean of the tokens."""
    torch.manual_seed(1)
    config = transformers.BertConfig(**_TOWER, vocab_size=len(_WORDS), max_position_embeddings=24)
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer(24).save_pretrained(folder)


def sentences(folder: Path, *, prompt: str = "") -> None:
    """With the first token instead of the mean, a dense layer, and a normalisation, as some are published."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

    bert(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=24)
    pooling = Pooling(32, pooling_mode="cls")
    made = SentenceTransformer(modules=[transformer, pooling, Dense(32, 20), Normalize()], device="cpu")
    if prompt:
        made.prompts, made.default_prompt_name = {"passage": prompt}, "passage"
    made.save_pretrained(str(folder))


def onnx(folder: Path, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], name: str, **options: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(module, inputs, str(folder / name), dynamo=False, **options)


def write_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
