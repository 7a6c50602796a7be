"""Weights of the hub, from a small server that speaks its protocol: fetched once, with progress, and told apart by what
goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from huggingface_hub import constants

from search import encoders, weights
from search.encoders import EncoderUnavailable
from search.weights import WeightsUnavailable
from tests.search import tiny_encoders, tiny_hub
from tests.search.tiny_hub import Hub


@pytest.fixture
def hub(tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    with tiny_hub.serve(made) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(weights, "_asked", None)
        settings.ENCODERS_DIR = tmp_path / "own"
        settings.DATA_DIR = tmp_path / "data"
        yield made


@pytest.fixture
def published(hub: Hub, tmp_path: Path) -> Hub:
    """``somebody/clip``, with copies for other frameworks, as repositories have them."""
    folder = tmp_path / "published"
    tiny_encoders.clip(folder)
    for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "model.fp16.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"as large again")
    hub.repositories["somebody/clip"] = folder
    return hub


def test_weights_are_fetched_once_with_progress(published: Hub) -> None:
    assert weights.hub_is_reachable()
    checkpoint = weights.find("somebody/clip")
    assert weights.local(checkpoint) is None
    size = weights.download_size(checkpoint)
    told: list[tuple[int, int]] = []
    prepared = encoders.prepare("joint:somebody/clip", lambda done, total: told.append((done, total)))
    assert prepared.outputs[0].dimension == 24
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert "model.safetensors" in published.served
    assert not {"pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "model.fp16.safetensors"} & set(published.served)
    number = len(published.served)
    assert weights.download_size(checkpoint) == 0
    encoders.prepare("joint:somebody/clip")
    assert encoders.spec("joint:somebody/clip").load().encode_texts(["a cat"])["joint"].shape == (1, 24)
    assert len(published.served) == number


def test_a_download_that_is_stopped_goes_on_later(published: Hub) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Stopped

    with pytest.raises(Stopped):
        weights.fetch(weights.find("somebody/clip"), stop)
    assert weights.local(weights.find("somebody/clip")) is None
    already = set(published.served)
    published.served.clear()
    weights.fetch(weights.find("somebody/clip"))
    assert weights.local(weights.find("somebody/clip"))
    assert already - {"model.safetensors"}
    assert not (already - {"model.safetensors"}) & set(published.served)


def test_half_a_file_is_no_file(published: Hub) -> None:
    published.breaks_at = "model.safetensors"
    with pytest.raises(WeightsUnavailable, match=r"cannot be fetched \(.+\). Check the network"):
        weights.fetch(weights.find("somebody/clip"))
    assert weights.local(weights.find("somebody/clip")) is None
    published.breaks_at = ""
    assert (weights.fetch(weights.find("somebody/clip")) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda hub: None, "There is no model somebody/clip on the Hugging Face hub, or it is private"),
        (lambda hub: hub.gated.add("somebody/clip"), "Accept them on its page and set HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_told_in_a_sentence(hub: Hub, prepare: Callable[[Hub], None], says: str) -> None:
    prepare(hub)
    with pytest.raises(EncoderUnavailable, match=says):
        encoders.prepare("somebody/clip")


def test_a_repository_without_weights_is_told(published: Hub) -> None:
    for path in published.repositories["somebody/clip"].glob("*.safetensors"):
        path.unlink()
    (published.repositories["somebody/clip"] / "pytorch_model.bin").unlink()
    with pytest.raises(EncoderUnavailable, match="has no weights that can be read here"):
        encoders.prepare("joint:somebody/clip")


def test_no_network_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert not weights.hub_is_reachable()
    with pytest.raises(EncoderUnavailable, match=r"cannot be fetched \(.+\). Check the network, or copy its folder to"):
        encoders.prepare("joint:somebody/clip")


def test_a_full_disk_is_told_before_it_is_full(published: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_ROOM_LEFT", 1 << 60)
    with pytest.raises(WeightsUnavailable, match=r"and only .* GB are free at .*Make room there"):
        weights.fetch(weights.find("somebody/clip"))
    assert not published.served
