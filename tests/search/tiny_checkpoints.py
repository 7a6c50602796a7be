"""Networks of a few kilobytes with random weights, in the files that real ones have."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from search.encoders import torchvision_operators

torchvision_operators.make_importable()

import torch  # noqa: E402
import transformers as typed_transformers  # noqa: E402
from transformers.convert_slow_tokenizer import bytes_to_unicode  # noqa: E402

# Its types know neither all arguments of its configurations nor their defaults.
transformers: Any = typed_transformers

_EDGES = {"shortest_edge": 64, "longest_edge": 96}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def yolos(folder: Path) -> None:
    torch.manual_seed(1)
    names = {0: "cat", 1: "dog", 2: "N/A"}
    config = transformers.YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 96],
        num_detection_tokens=7,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    transformers.YolosImageProcessor(size=_EDGES).save_pretrained(folder)


def detr(folder: Path) -> None:
    torch.manual_seed(1)
    names = {0: "N/A", 1: "person", 2: "dog"}
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(**_RESNET, out_features=["stage4"]),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=9,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    transformers.DetrForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessor(size=_EDGES).save_pretrained(folder)


def rt_detr(folder: Path) -> None:
    torch.manual_seed(1)
    names = {0: "cat", 1: "dog"}
    config = transformers.RTDetrV2Config(
        backbone_config=transformers.RTDetrResNetConfig(**_RESNET, out_features=["stage2", "stage3", "stage4"]),
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        # All places: random weights score them alike, and some of them would be some others on another device.
        num_queries=8 * 8 + 4 * 4 + 2 * 2,
        num_denoising=0,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    transformers.RTDetrV2ForObjectDetection(config).save_pretrained(folder)
    transformers.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def owlv2(folder: Path) -> None:
    """Its tokenizer knows letters only."""
    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16, pad_token="!"
    )
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Owlv2Config(
        text_config={
            **tower,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
        },
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    transformers.Owlv2Processor(
        transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer
    ).save_pretrained(folder)


def grounding_dino(folder: Path) -> None:
    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "cat", "dog", "##s", "red", "fire", "engine"]
    (folder / "vocab.txt").write_text("\n".join(words))
    text = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 2],
            window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=text.to_dict(),
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        num_queries=11,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        d_model=32,
        max_text_len=32,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size=_EDGES), tokenizer
    ).save_pretrained(folder)


def vit(folder: Path) -> None:
    """An encoder: no detector."""
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    transformers.ViTModel(config).save_pretrained(folder)


def onnx(path: Path, images: tuple[int, ...], output: tuple[int, ...]) -> None:
    """An ONNX file that takes ``images`` and gives ``output``, each value the mean of what it was given."""

    def said(field: int, content: bytes | str | int) -> bytes:
        if isinstance(content, int):
            return _varint(field << 3) + _varint(content)
        data = content.encode() if isinstance(content, str) else content
        return _varint(field << 3 | 2) + _varint(len(data)) + data

    def value(name: str, shape: tuple[int, ...]) -> bytes:
        sides = b"".join(said(1, said(1, side)) for side in shape)
        return said(1, name) + said(2, said(1, said(1, 1) + said(2, sides)))  # type 1: float

    def shape(name: str, sides: list[int]) -> bytes:
        return said(1, len(sides)) + said(2, 7) + said(8, name) + said(9, struct.pack(f"<{len(sides)}q", *sides))

    def node(operator: str, inputs: list[str], result: str) -> bytes:
        return b"".join(said(1, name) for name in inputs) + said(2, result) + said(4, operator)

    graph = b"".join(
        [
            said(1, node("ReduceMean", ["images"], "mean")),
            said(1, node("Reshape", ["mean", "one"], "flat")),
            said(1, node("Expand", ["flat", "wanted"], "output")),
            said(2, "mean"),
            said(5, shape("one", [1] * len(output))),
            said(5, shape("wanted", list(output))),
            said(11, value("images", images)),
            said(12, value("output", output)),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(said(1, 8) + said(7, graph) + said(8, said(1, "") + said(2, 13)))


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    return bytes([*result, number])


BOXES: dict[str, Any] = {"yolos": yolos, "detr": detr, "rt_detr": rt_detr}
WORDS: dict[str, Any] = {"owlv2": owlv2, "grounding_dino": grounding_dino}
