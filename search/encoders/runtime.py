"""What runs a network: OpenVINO on a CPU (bfloat16 where it has that), torch on a CUDA device (float16 where the network bears
it), torch as the reference.

A network is built and converted once; the result is kept under ``DATA_DIR/models``, so that later starts need neither
torch nor the weights' own library.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import structlog
from django.conf import settings

from . import torchvision_operators
from .base import EncoderError, EncoderUnavailable, last_line

if TYPE_CHECKING:
    import torch

    from .torch_network import TorchNetwork

log = structlog.get_logger(__name__)

Inputs = npt.NDArray[Any]
Rows = Inputs | Sequence[Inputs]  # of one input: an array of ``n`` rows, or ``n`` arrays

RUNTIMES = ("cuda", "openvino", "torch")

# Batches are tried in these sizes; a greater one must bring this share more items a second to be worth its memory.
_BATCHES = (8, 16, 32, 64, 128, 256)
_WORTH_IT = 1.05
_TRIALS = 5
_SHORTEST_TRIAL_S, _LONGEST_TRIAL_S = 0.3, 1.0
# Least cosine between what a network gives and what it gives converted, in float32 and in bfloat16.
_SAME, _SAME_BFLOAT16 = 0.999, 0.99
_FILE = "model.xml"
_FLOAT32 = "float32-only"


class Network(Protocol):
    """A network ready to run. Safe to call from several threads."""

    most_rows: int  # more at once are not worth trying

    @property
    def runtime(self) -> str:
        """What runs it, as a person reads it: “OpenVINO, bfloat16”."""

    def __call__(self, *inputs: Rows) -> tuple[npt.NDArray[np.float32], ...]:
        """``n`` rows of each input to arrays of ``n`` rows. Raises ``EncoderError`` when the network cannot do it."""


@dataclass(frozen=True)
class Graph:
    """A network that can be had: its identity, and how torch builds it when it is not converted yet."""

    name: str  # in the name of its folder, for people
    identity: tuple[str, ...]  # hash of its weights, versions of the libraries that build it
    build: Callable[[], torch.nn.Module]
    example: Callable[[], tuple[torch.Tensor, ...]]  # inputs of two rows
    # Inputs of other shapes that it must take too: longer texts. The converted network is tried on them.
    others: Callable[[], tuple[tuple[torch.Tensor, ...], ...]] = lambda: ()


def load(graph: Graph, runtime: str | None = None) -> Network:
    """The network in ``runtime``, or in the best one here. Raises ``EncoderUnavailable``."""
    chosen = runtime or preferred()
    if chosen == "cuda":
        return _on_cuda(graph)
    if chosen == "openvino":
        try:
            model, bears_bfloat16 = converted(graph)
            return _OpenVINO(model, bfloat16=bears_bfloat16 and has_bfloat16())
        except _NotConvertible as error:
            log.warning("network_not_converted", network=graph.name, reason=str(error), runs_in="torch")
    from .torch_network import TorchNetwork

    return TorchNetwork(graph.build(), device="cpu")


@cache
def preferred() -> str:
    """``ENCODER_RUNTIME`` when it is set, else the fastest that this machine has."""
    if settings.ENCODER_RUNTIME:
        return str(settings.ENCODER_RUNTIME)
    if _has_cuda():
        return "cuda"
    return "openvino" if _has_openvino() else "torch"


@cache
def _has_cuda() -> bool:
    if version("torch").endswith("+cpu"):
        return False  # known without the seconds that importing it takes
    import torch

    return torch.cuda.is_available()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def versions(*packages: str) -> tuple[str, ...]:
    """``name-version`` of each, for a graph's identity."""
    return tuple(f"{name}-{version(name)}" for name in packages)


def models_folder() -> Path:
    folder = Path(settings.DATA_DIR) / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def best_batch(network: Network, rows: Callable[[int], tuple[Inputs, ...]]) -> int:
    """The batch size with which ``network`` does most rows a second. ``rows(n)`` makes ``n`` of them.

    Takes some batches' time; stops at the first size that is hardly better, or for which there is no memory.
    """
    best, best_rate = _BATCHES[0], 0.0
    for size in _BATCHES:
        if size > network.most_rows:
            break
        inputs = rows(size)
        try:
            network(*inputs)
            times: list[float] = []
            while sum(times) < (_SHORTEST_TRIAL_S if len(times) >= _TRIALS else _LONGEST_TRIAL_S):
                began = time.perf_counter()
                network(*inputs)
                times.append(time.perf_counter() - began)
        except EncoderError:
            break
        rate = size / min(times)  # the least disturbed one
        if rate < best_rate * _WORTH_IT:
            break
        best, best_rate = size, rate
        if min(times) > _LONGEST_TRIAL_S:
            break
    return best


# How fast this machine is ---------------------------------------------------------------------------------------------

_SPEED = "speed.json"
# ViT-B/16 at 224 pixels.
_TOKENS, _WIDTH, _HEADS, _LAYERS = 197, 768, 12, 12
# What goes into the layer and comes out of it: to bring a GPU whole tokens takes longer than the layer.
_NARROW = 8


def transformer_rate() -> float | None:
    """Images a second that ViT-B/16 at 224 pixels takes here, about; None until ``measure_speed`` has been called."""
    path = models_folder() / _SPEED
    return float(json.loads(path.read_text())["rate"]) if path.exists() else None


def measure_speed() -> float:
    """Measure it, unless that has been done: on one layer, for a second or two."""
    path = models_folder() / _SPEED
    with only_one(path):
        if not path.exists():
            path.write_text(json.dumps({"rate": _measured(), "runtime": preferred(), "cores": cores()}))
    return transformer_rate() or 0.0


def _measured() -> float:
    def rows(number: int) -> tuple[Inputs, ...]:
        return (np.random.default_rng(0).standard_normal((number, _TOKENS, _NARROW), dtype=np.float32),)

    def build() -> torch.nn.Module:
        torchvision_operators.make_importable()
        from timm.models.vision_transformer import Block
        from torch import nn

        return nn.Sequential(nn.Linear(_NARROW, _WIDTH), Block(_WIDTH, _HEADS), nn.Linear(_WIDTH, _NARROW))

    def example() -> tuple[torch.Tensor, ...]:
        import torch

        return (torch.from_numpy(rows(2)[0]),)

    network = load(Graph("speed", ("narrow", *versions("torch", "timm")), build, example))
    size = network.most_rows if preferred() == "cuda" else 8
    inputs = rows(size)
    network(*inputs)
    times: list[float] = []
    while len(times) < _TRIALS or sum(times) < _LONGEST_TRIAL_S:
        began = time.perf_counter()
        network(*inputs)
        times.append(time.perf_counter() - began)
    return size / (min(times) * _LAYERS)


# torch ---------------------------------------------------------------------------------------------------------------


def _on_cuda(graph: Graph) -> Network:
    from .torch_network import TorchNetwork

    return _in_fewest_digits(TorchNetwork(graph.build(), device="cuda"), graph)


def _in_fewest_digits(exact: TorchNetwork, graph: Graph) -> Network:
    """In float16 where that gives the same. Raises ``EncoderUnavailable`` for a network that does not run at all."""
    import torch

    tries = (graph.example(), *graph.others())
    try:
        theirs = [tuple(map(torch.from_numpy, exact(*(one.numpy() for one in inputs)))) for inputs in tries]
    except EncoderError as error:
        raise EncoderUnavailable(f"The network does not run here. {error}") from error
    quick = exact.in_float16()
    try:
        is_same = _least_cosine(quick, tries, theirs) >= _SAME
    except EncoderError as error:  # its own code mixes float16 with float32
        log.info("network_without_float16", network=graph.name, reason=str(error))
        return exact
    return quick if is_same else exact


# Kept on disk --------------------------------------------------------------------------------------------------------


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Web server and workers start together: one of them makes ``path``, the others wait for it."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def file_hash(path: Path) -> str:
    """Its SHA-256. Remembered by size and time of change: weights have gigabytes, and every start asks."""
    path = path.resolve()
    stat = path.stat()
    name = sha256(f"{path}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:32]
    remembered = models_folder() / "hashes" / name
    if remembered.exists():
        return remembered.read_text()
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    remembered.parent.mkdir(exist_ok=True)
    part = remembered.with_name(f"{name}.{os.getpid()}")
    part.write_text(digest.hexdigest())
    os.replace(part, remembered)
    return digest.hexdigest()


def kept(name: str, identity: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    """A folder under ``DATA_DIR/models`` that ``make`` fills once for each ``identity``: whole, or not at all."""
    key = sha256("|".join(identity).encode()).hexdigest()[:16]
    readable = "".join(char if char.isalnum() or char in "-._" else "-" for char in name)
    folder = models_folder() / f"{readable}-{key}"
    with only_one(folder):
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            (part / "identity.json").write_text(json.dumps({"name": name, "identity": identity}))
            make(part)
            os.replace(part, folder)
    return folder


# OpenVINO ------------------------------------------------------------------------------------------------------------


class _NotConvertible(Exception):
    """OpenVINO has no way to run this network."""


def _openvino() -> Any:
    # Its converter would tell Google Analytics of every conversion; without this package it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def _has_openvino() -> bool:
    try:
        version("openvino")
    except PackageNotFoundError:
        return False
    return True


@cache
def _core() -> Any:
    return _openvino().Core()


def converted(graph: Graph) -> tuple[Any, bool]:
    """The graph as OpenVINO reads it, from disk if it is there, and whether it can do with the three digits of bfloat16.

    Raises ``_NotConvertible``.
    """

    def convert(folder: Path) -> None:
        began = time.perf_counter()
        model, bears_bfloat16 = _convert(graph)
        _openvino().save_model(model, folder / _FILE, compress_to_fp16=False)
        if not bears_bfloat16:
            (folder / _FLOAT32).touch()
        log.info(
            "network_converted",
            network=graph.name,
            seconds=round(time.perf_counter() - began, 1),
            bears_bfloat16=bears_bfloat16,
        )

    folder = kept(graph.name, (*graph.identity, *versions("openvino")), convert)
    return _core().read_model(folder / _FILE), not (folder / _FLOAT32).exists()


def _convert(graph: Graph) -> tuple[Any, bool]:
    """As ``converted``; where the CPU has no bfloat16, nothing is known against it."""
    import torch

    module = graph.build().eval()
    example = graph.example()
    tries = (example, *graph.others())
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Tracing warns of every shape that the network's code looks at.
            warnings.simplefilter("ignore")
            model = _openvino().convert_model(module, example_input=example)
            theirs = [_tuple(module(*inputs)) for inputs in tries]
        least = _least_cosine(_OpenVINO(model, bfloat16=False), tries, theirs)
        if not least >= _SAME:
            raise _NotConvertible(f"converted, it gives other vectors: a cosine of {least:.4f}")
        return model, not has_bfloat16() or _least_cosine(
            _OpenVINO(model, bfloat16=True), tries, theirs
        ) >= _SAME_BFLOAT16
    except _NotConvertible:
        raise
    except Exception as error:
        # The converter meets what it does not know with exceptions of every kind; torch can run all of it.
        raise _NotConvertible(last_line(error)) from error


def _least_cosine(network: Network, tries: tuple[Any, ...], theirs: list[tuple[torch.Tensor, ...]]) -> float:
    """Tracing keeps what code has decided for one example, a length or a branch: so it is tried on several."""
    import torch

    return min(
        float(torch.nn.functional.cosine_similarity(one.flatten(1), torch.from_numpy(other).flatten(1)).min())
        for inputs, outputs in zip(tries, theirs, strict=True)
        for one, other in zip(outputs, network(*(one.numpy() for one in inputs)), strict=True)
    )


def _tuple(found: Any) -> tuple[torch.Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


class OnnxFile:
    """A network in an ONNX file, through OpenVINO. Raises ``EncoderUnavailable`` for what is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._model = _core().read_model(path)
        except RuntimeError as error:
            raise EncoderUnavailable(
                f"{path.name} cannot be read as ONNX ({last_line(error)}). Export it again, or copy it again."
            ) from error
        # Shapes of its inputs; None where a size is open.
        self.inputs = [
            tuple(None if side.is_dynamic else side.get_length() for side in one.partial_shape)
            for one in self._model.inputs
            if one.partial_shape.rank.is_static
        ]
        if len(self.inputs) != len(self._model.inputs):
            raise EncoderUnavailable(f"{path.name} does not say the shapes of its inputs. Export it with them.")

    def described_inputs(self) -> str:
        shapes = ["(" + ", ".join("n" if side is None else str(side) for side in shape) + ")" for shape in self.inputs]
        return f"{len(shapes)} inputs {' and '.join(shapes)}" if len(shapes) != 1 else f"an input {shapes[0]}"

    def of_pixels(
        self, mean: tuple[float, ...], std: tuple[float, ...], size: tuple[int, int], *, output: str | None
    ) -> Network:
        """As a network of ``(n, height, width, 3)`` bytes, scaled as its input wants them."""
        openvino = _openvino()
        self._with_open_batch({0: (3, *size)})
        process = openvino.preprocess.PrePostProcessor(self._model)
        process.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        process.input().model().set_layout(openvino.Layout("NCHW"))
        process.input().preprocess().convert_element_type(openvino.Type.f32).mean([255 * one for one in mean]).scale(
            [255 * one for one in std]
        )
        return self._compiled(process.build(), output)

    def of_ids(self, *, output: str | None) -> Network:
        """As a network of ``(n, tokens)`` int64 ids, and of their mask where it takes one."""
        self._with_open_batch(dict.fromkeys(range(len(self.inputs)), (-1,)))
        return self._compiled(self._model, output)

    def _with_open_batch(self, rest: dict[int, tuple[int, ...]]) -> None:
        """Any number of rows, and sizes as they will be."""
        shapes = {self._model.inputs[index]: _openvino().PartialShape([-1, *sides]) for index, sides in rest.items()}
        try:
            self._model.reshape(shapes)
        except RuntimeError as error:
            raise EncoderUnavailable(
                f"{self._path.name} takes {self.described_inputs()} and nothing else ({last_line(error)}). Export it with "
                "an open (dynamic) first axis."
            ) from error

    def _compiled(self, model: Any, output: str | None) -> Network:
        names = [sorted(one.get_names()) for one in model.outputs]
        if output is not None and not any(output in one for one in names):
            known = ", ".join(name for one in names for name in one)
            raise EncoderUnavailable(f"{self._path.name} has no output “{output}”. It has {known}.")
        first = next((index for index, one in enumerate(names) if output in one), 0)
        return _OpenVINO(model, bfloat16=has_bfloat16(), only=first)


class _OpenVINO:
    def __init__(self, model: Any, *, bfloat16: bool, only: int | None = None) -> None:
        self.runtime = f"OpenVINO, {'bfloat16' if bfloat16 else 'float32'}"
        self.most_rows = 64
        self._compiled = _core().compile_model(
            model,
            "CPU",
            {
                # One batch at a time on all cores: batches are large, and a search waits for one text.
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
                "INFERENCE_NUM_THREADS": cores(),
                # Tied to a core, a thread waits for the picture that is decoded there while another core is idle.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._outputs = range(len(self._compiled.outputs)) if only is None else [only]
        self._own = threading.local()

    def __call__(self, *inputs: Rows) -> tuple[npt.NDArray[np.float32], ...]:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        try:
            found = self._own.request.infer([np.stack(rows) if isinstance(rows, list) else rows for rows in inputs])
        except RuntimeError as error:
            raise EncoderError(f"OpenVINO could not run the network ({last_line(error)}).") from error
        return tuple(np.array(found[index], dtype=np.float32) for index in self._outputs)
