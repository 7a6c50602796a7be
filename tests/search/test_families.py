"""Every family of encoders gives what the library that its weights were made for gives, on photographs and texts.

The weights are random: a wrong step in between shows as clearly with them, and no network is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings

from search import encoders
from search.encoders import EncoderUnavailable, UnknownEncoder, runtime, timm_images, torchvision_operators
from search.encoders.sentences import Sentences
from search.encoders.timm_images import TimmImages
from search.encoders.transformers_images import TransformersImages
from search.encoders.transformers_joint import Joint
from tests.search import tiny_encoders
from tests.search.test_encoders import LEAST, real_photos
from tests.search.tiny_encoders import torch, transformers

TEXTS = ["a photo of a cat", "the red car", "where", "a dog sleeps . the cat sleeps . a red car"]
RUNTIMES = sorted(LEAST)


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings) -> Path:
    """An ``ENCODERS_DIR`` of its own."""
    settings.ENCODERS_DIR = tmp_path
    return tmp_path


def cosines(ours: Any, theirs: Any) -> Any:
    theirs = np.asarray(theirs, dtype=np.float32)
    return (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)


def ours_of_images(encoder: Any) -> Any:
    return encoder.encode_batch([encoder.preprocess(photo) for photo in real_photos()])[encoder.spec.outputs[0].name]


# Joint ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs_in", RUNTIMES)
@pytest.mark.parametrize(("build", "dimension"), [(tiny_encoders.clip, 24), (tiny_encoders.siglip, 32)])
def test_a_joint_encoder_is_the_one_of_transformers(
    folder: Path, build: Callable[[Path], None], dimension: int, runs_in: str
) -> None:
    build(folder / "model")
    prepared = encoders.prepare("joint:model")
    assert [(one.dimension, sorted(one.accepts)) for one in prepared.outputs] == [(dimension, ["image", "text"])]

    reference = transformers.AutoModel.from_pretrained(folder / "model").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder / "model", backend="pil")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    with torch.inference_mode():
        pixels = processor(images=real_photos(), return_tensors="pt")
        images = reference.get_image_features(**pixels).pooler_output.numpy()
        tokens = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
        takes_mask = build is tiny_encoders.clip
        mask = {"attention_mask": tokens["attention_mask"]} if takes_mask else {}
        texts = reference.get_text_features(input_ids=tokens["input_ids"], **mask).pooler_output.numpy()
    encoder = Joint("joint:model", runs_in)
    assert cosines(ours_of_images(encoder), images).min() >= LEAST[runs_in]
    assert cosines(encoder.encode_texts(TEXTS)["joint"], texts).min() >= LEAST[runs_in]


@pytest.mark.parametrize(
    ("build", "tokenizer"),
    [(tiny_encoders.siglip_of_2023, "SiglipTokenizer"), (tiny_encoders.siglip_of_2025, "Siglip2Tokenizer")],
)
def test_texts_of_siglip_are_read_as_it_was_trained(
    folder: Path, build: Callable[[Path], None], tokenizer: str
) -> None:
    """Upper case, punctuation, several spaces."""
    texts = ["a photo of a cat", "A  Photo, of a CAT!", "Where is the dog?", "x"]
    build(folder / "model")
    encoders.prepare("joint:model")
    reference = transformers.AutoModel.from_pretrained(folder / "model").eval()
    tokens = getattr(transformers, tokenizer).from_pretrained(folder / "model")(
        texts, padding="max_length", max_length=32, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = reference.get_text_features(input_ids=tokens["input_ids"]).pooler_output.numpy()
    ours = Joint("joint:model", "torch").encode_texts(texts)["joint"]
    assert cosines(ours, theirs).min() >= 0.9999


def test_what_was_found_out_about_a_checkpoint_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start reads neither the weights nor transformers' code for them."""
    tiny_encoders.clip(folder / "model")
    assert encoders.prepare("joint:model").license == "mit"
    first = Joint("joint:model", "openvino").encode_texts(TEXTS)["joint"]

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("It was read already.")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", never)
    np.testing.assert_array_equal(Joint("joint:model", "openvino").encode_texts(TEXTS)["joint"], first)
    tiny_encoders.siglip(folder / "other")
    with pytest.raises(EncoderUnavailable, match="read already"):
        encoders.prepare("joint:other")


# Images --------------------------------------------------------------------------------------------------------------


def _class_token(model: Any, pixels: Any) -> Any:
    return model(**pixels).last_hidden_state[:, 0]


def _own_pooling(model: Any, pixels: Any) -> Any:
    return model(**pixels).pooler_output.flatten(1)


@pytest.mark.parametrize("runs_in", RUNTIMES)
@pytest.mark.parametrize(
    ("build", "dimension", "pooled"),
    [
        (tiny_encoders.vit, 32, _class_token),
        (tiny_encoders.dinov2, 32, _own_pooling),
        (tiny_encoders.dinov3, 32, _own_pooling),
        (tiny_encoders.resnet, 48, _own_pooling),
        (tiny_encoders.efficientnet, 640, _own_pooling),
    ],
)
def test_an_encoder_of_images_is_the_one_of_transformers(
    folder: Path, build: Callable[[Path], None], dimension: int, pooled: Callable[[Any, Any], Any], runs_in: str
) -> None:
    build(folder / "model")
    assert [one.dimension for one in encoders.prepare("images:model").outputs] == [dimension]
    reference = transformers.AutoModel.from_pretrained(folder / "model").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder / "model")
    with torch.inference_mode():
        theirs = [pooled(reference, processor(images=photo, return_tensors="pt"))[0].numpy() for photo in real_photos()]
    assert cosines(ours_of_images(TransformersImages("images:model", runs_in)), theirs).min() >= LEAST[runs_in]


# timm ----------------------------------------------------------------------------------------------------------------


def _as_timm(folder: Path, architecture: str, dimension: int, runs_in: str) -> None:
    """Against timm's own evaluation transform and its model without a classifier."""
    from timm.data import create_transform, resolve_model_data_config

    tiny_encoders.of_timm(architecture, folder / "model")
    assert [one.dimension for one in encoders.prepare("timm:model").outputs] == [dimension]
    reference = tiny_encoders.timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True, num_classes=0).eval()
    transform: Any = create_transform(**resolve_model_data_config(reference), is_training=False)
    photos = real_photos()[:3]
    with torch.inference_mode():
        theirs = reference(torch.stack([transform(photo) for photo in photos])).numpy()
    encoder = TimmImages("timm:model", runs_in)
    ours = encoder.encode_batch([encoder.preprocess(photo) for photo in photos])["visual"]
    assert cosines(ours, theirs).min() >= LEAST[runs_in]


def test_vgg_16(folder: Path) -> None:
    _as_timm(folder, "vgg16", 4096, "openvino")


def test_resnet_50(folder: Path) -> None:
    _as_timm(folder, "resnet50", 2048, "openvino")


def test_inception_v3(folder: Path) -> None:
    _as_timm(folder, "inception_v3", 2048, "openvino")


def test_efficientnet_b0(folder: Path) -> None:
    _as_timm(folder, "efficientnet_b0", 1280, "openvino")


def test_vit_base(folder: Path) -> None:
    _as_timm(folder, "vit_base_patch16_224", 768, "openvino")


def test_timm_in_torch(folder: Path) -> None:
    _as_timm(folder, "resnet10t", 512, "torch")


def test_a_name_of_timm_stands_for_its_repository() -> None:
    from search.encoders.timm_images import _checkpoint

    assert _checkpoint("vgg16").said == "timm/vgg16.tv_in1k"
    assert _checkpoint("resnet50.a1_in1k").said == "timm/resnet50.a1_in1k"
    with pytest.raises(EncoderUnavailable, match="timm has no model with weights “vgg1600”"):
        encoders.prepare("timm:vgg1600")


# Texts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs_in", RUNTIMES)
@pytest.mark.parametrize(("build", "dimension"), [(tiny_encoders.bert, 32), (tiny_encoders.sentences, 20)])
def test_an_encoder_of_texts_is_the_one_of_sentence_transformers(
    folder: Path, build: Callable[[Path], None], dimension: int, runs_in: str
) -> None:
    from sentence_transformers import SentenceTransformer

    build(folder / "model")
    assert [one.dimension for one in encoders.prepare("sentences:model").outputs] == [dimension]
    theirs = SentenceTransformer(str(folder / "model"), device="cpu").encode(TEXTS)
    ours = Sentences("sentences:model", runs_in).encode_texts(TEXTS)["text"]
    assert cosines(ours, theirs).min() >= LEAST[runs_in]


def test_a_default_prompt_stands_before_every_text(folder: Path) -> None:
    tiny_encoders.sentences(folder / "model", prompt="the red ")
    prompted = Sentences("sentences:model", "torch").encode_texts(["car"])["text"]
    tiny_encoders.sentences(folder / "plain")
    plain = Sentences("sentences:plain", "torch").encode_texts(["the red car", "car"])["text"]
    assert float(prompted[0] @ plain[0]) > 0.999999
    assert float(prompted[0] @ plain[1]) < 0.99999


def test_code_that_a_model_brings_is_never_run(folder: Path) -> None:
    tiny_encoders.sentences(folder / "model")
    trace = folder / "was-run"
    (folder / "model" / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Evil: pass\n")
    modules = folder / "model" / "modules.json"
    modules.write_text(modules.read_text().replace('"type": "', '"type": "evil.Evil", "was": "', 1))
    with pytest.raises(EncoderUnavailable, match=r"sentence-transformers cannot read .*evil\.Evil"):
        encoders.prepare("model")
    assert not trace.exists()
    tiny_encoders.vit(folder / "other")
    (folder / "other" / "evil.py").write_text((folder / "model" / "evil.py").read_text())
    tiny_encoders.write_config(folder / "other", model_type="evil", auto_map={"AutoConfig": "evil.Evil"})
    with pytest.raises(EncoderUnavailable, match=r"configuration in .* cannot be read"):
        encoders.prepare("images:other")
    assert not trace.exists()


# Without a prefix ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "output"),
    [
        (tiny_encoders.siglip, "joint"),
        (tiny_encoders.dinov2, "visual"),
        (lambda folder: tiny_encoders.of_timm("resnet10t", folder), "visual"),
        (tiny_encoders.sentences, "text"),
        (tiny_encoders.bert, "text"),
    ],
)
def test_the_files_tell_the_family(folder: Path, build: Callable[[Path], None], output: str) -> None:
    build(folder / "model")
    prepared = encoders.prepare("model")
    assert prepared.name == "model"
    assert [one.name for one in prepared.outputs] == [output]


# Own -----------------------------------------------------------------------------------------------------------------


class _Pooled(torch.nn.Module):
    def __init__(self, outputs: int = 5) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = torch.nn.Conv2d(3, outputs, 7, stride=7)

    def forward(self, pixels: Any) -> Any:
        return self.conv(pixels).relu().mean(dim=(2, 3))


class _Words(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = torch.nn.Embedding(20, 5)

    def forward(self, ids: Any, mask: Any) -> Any:
        weights = mask.unsqueeze(-1).float()
        return (self.embedding(ids) * weights).sum(1) / weights.sum(1)


_IMAGE = "image: {file: net.onnx, resize: 48, crop: [42, 42], mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}\n"


def _own_image(folder: Path, **options: Any) -> _Pooled:
    module = _Pooled().eval()
    options = options or {"dynamic_axes": {"pixels": {0: "n"}}}
    tiny_encoders.onnx(folder, module, (torch.zeros(1, 3, 42, 42),), "net.onnx", input_names=["pixels"], **options)
    return module


@pytest.mark.parametrize("fixed_batch", [False, True])
def test_an_onnx_file_with_a_description(folder: Path, fixed_batch: bool) -> None:
    """Also one that was exported for a single image: its first axis is opened."""
    module = _own_image(folder, **({"output_names": ["out"]} if fixed_batch else {}))
    (folder / "mine.yaml").write_text(f"title: Mine\nlicense: MIT\n{_IMAGE}")
    assert "own:mine" in [one.name for one in encoders.all_specs()]
    encoder = encoders.spec("own:mine").load()
    assert encoder.spec.outputs[0].dimension == 5
    for photo, ours in zip(real_photos(), ours_of_images(encoder), strict=True):
        scaled = (np.asarray(encoder.preprocess(photo), dtype=np.float32) / 255 - 0.5) / 0.25
        with torch.inference_mode():
            theirs = module(torch.from_numpy(scaled.transpose(2, 0, 1)[None].copy()))[0].numpy()
        assert float(ours @ theirs / np.linalg.norm(theirs)) >= 0.995


def test_two_onnx_files_share_a_space(folder: Path) -> None:
    _own_image(folder)
    ids = torch.ones(1, 4, dtype=torch.int64)
    axes = {"ids": {0: "n", 1: "tokens"}, "mask": {0: "n", 1: "tokens"}}
    module = _Words().eval()
    tiny_encoders.onnx(folder, module, (ids, ids), "words.onnx", input_names=["ids", "mask"], dynamic_axes=axes)
    tokenizer = tiny_encoders.tokenizer(16)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    text = "text: {file: words.onnx, tokenizer: tokenizer.json, max_tokens: 16}\n"
    (folder / "both.yaml").write_text(_IMAGE + text)
    encoder = encoders.spec("own:both").load()
    assert encoder.spec.outputs[0].accepts == {"image", "text"}
    for words, ours in zip(TEXTS, encoder.encode_texts(TEXTS)["joint"], strict=True):
        tokens = tokenizer(words, return_tensors="pt", truncation=True)
        with torch.inference_mode():
            theirs = module(tokens["input_ids"], tokens["attention_mask"])[0].numpy()
        assert float(ours @ theirs / np.linalg.norm(theirs)) >= 0.995


_CLASS = """
import numpy as np

class Mean:
    dimension = 3
    accepts = {"image"}

    def preprocess(self, image):
        return np.asarray(image.resize((8, 8)), dtype=np.float32)

    def encode_images(self, inputs):
        return np.stack(inputs).mean(axis=(1, 2)) + 1
"""


def test_a_class_of_ones_own(folder: Path) -> None:
    (folder / "colours.py").write_text(_CLASS)
    (folder / "mean.yaml").write_text("title: Mean colour\nclass: colours.Mean\n")
    for name in ("python:colours.Mean", "own:mean"):
        encoder = encoders.spec(name).load()
        assert encoder.spec.modalities == {"image"}
        np.testing.assert_allclose(np.linalg.norm(ours_of_images(encoder), axis=1), 1, atol=1e-3)


# What goes wrong -----------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_offline_says_so(folder: Path) -> None:
    for name in ("joint:somebody/nothing", "somebody/nothing", "timm:vgg16"):
        with pytest.raises(EncoderUnavailable, match="HF_HUB_OFFLINE is set"):
            encoders.prepare(name)


@pytest.mark.parametrize("name", ["joint:../elsewhere", "own:../elsewhere", "nothing", "own:nothing", "images:/etc"])
def test_a_name_that_means_nothing_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UnknownEncoder):
        encoders.spec(name)


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_without("model.safetensors"), "holds no weights"),
        (_without("config.json"), "holds no config.json"),
        (_without("preprocessor_config.json"), "preprocessing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "weights in .* cannot be read"),
        (lambda folder: tiny_encoders.write_config(folder, hidden_size=64), "not those of a vit"),
        (lambda folder: tiny_encoders.write_config(folder, model_type="dinov2"), "not those of a dinov2"),
        (lambda folder: tiny_encoders.write_config(folder, model_type="never_heard_of"), "cannot be read"),
    ],
)
def test_a_spoilt_folder_is_told_in_a_sentence(folder: Path, spoil: Callable[[Path], None], says: str) -> None:
    tiny_encoders.vit(folder / "model")
    spoil(folder / "model")
    with pytest.raises(EncoderUnavailable, match=says):
        encoders.prepare("images:model")


def test_the_wrong_family_is_told_in_a_sentence(folder: Path) -> None:
    tiny_encoders.clip(folder / "clip")
    tiny_encoders.vit(folder / "vit")
    with pytest.raises(EncoderUnavailable, match="joint:"):
        encoders.prepare("images:clip")
    with pytest.raises(EncoderUnavailable, match="one space"):
        encoders.prepare("joint:vit")
    with pytest.raises(EncoderUnavailable, match="timm cannot read"):
        encoders.prepare("timm:vit")
    with pytest.raises(EncoderUnavailable, match=r"sentence-transformers cannot read|begins with"):
        encoders.prepare("sentences:vit")


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ("image: {file: gone.onnx}", "does not exist"),
        ("image: {file: ../../etc/passwd}", "leads out"),
        ("image: {file: text.onnx}", "cannot be read as ONNX"),
        ("image: {file: net.onnx, crop: [50, 50]}", "Make the two the same"),
        ("image: {file: net.onnx, output: nothing}", "has no output “nothing”"),
        ("image: {file: net.onnx, mean: 3}", "image cannot be understood"),
        ("image: {file: words.onnx, resize: 42}", "takes one input"),
        ("image: {file: map.onnx, resize: 42}", "one vector each"),
        ("class: nothing.Here", "Put the module there"),
        ("class: os.system", "Put the module there"),
        ("imagine: {}", "means nothing here"),
        ("[1, 2", "cannot be read as YAML"),
    ],
)
def test_a_wrong_description_is_told_in_a_sentence(folder: Path, description: str, says: str) -> None:
    _own_image(folder)
    (folder / "text.onnx").write_text("no network")
    ids = torch.ones(1, 4, dtype=torch.int64)
    tiny_encoders.onnx(folder, _Words(), (ids, ids), "words.onnx")
    tiny_encoders.onnx(folder, torch.nn.Conv2d(3, 4, 7), (torch.zeros(1, 3, 42, 42),), "map.onnx")
    (folder / "mine.yaml").write_text(description)
    with pytest.raises((EncoderUnavailable, UnknownEncoder), match=says):
        encoders.prepare("own:mine")


def test_the_machine_says_what_runs_it(folder: Path) -> None:
    tiny_encoders.vit(folder / "model")
    assert TransformersImages("images:model", "torch").runtime == "torch, float32"
    expected = f"OpenVINO, {'bfloat16' if runtime.has_bfloat16() else 'float32'}"
    assert TransformersImages("images:model", "openvino").runtime == expected


# The list -------------------------------------------------------------------------------------------------------------


def test_what_is_offered_of_timm_is_what_timm_says() -> None:
    torchvision_operators.make_importable()
    from timm.models import get_pretrained_cfg

    said = [spec.name.removeprefix("timm:") for spec in encoders.all_specs() if spec.name.startswith("timm:")]
    assert said
    for name in said:
        config = get_pretrained_cfg(name)
        assert config is not None
        assert timm_images.OFFERED[name] == config.hf_hub_id


def test_the_list_of_encoders_imports_none_of_their_libraries() -> None:
    said = (
        "import django; django.setup(); import sys; from search import encoders, offers;"
        "[offers.of_encoder(one) for one in encoders.all_specs()];"
        "print({'torch', 'timm', 'transformers'} & set(sys.modules))"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    told = subprocess.run(
        [sys.executable, "-c", said], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert told.strip() == "set()"
