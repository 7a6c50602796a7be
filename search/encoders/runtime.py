"""What runs a network: OpenVINO on a CPU (bfloat16 where it has that), torch on a CUDA device, torch as the reference.

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
from collections.abc import Callable, Iterator
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

from .base import EncoderError, EncoderUnavailable

if TYPE_CHECKING:
    import torch

log = structlog.get_logger(__name__)

Inputs = npt.NDArray[Any]

RUNTIMES = ("cuda", "openvino", "torch")

# Batches are tried in these sizes; a greater one must bring this share more items a second to be worth its memory.
_BATCHES = (8, 16, 32, 64, 128, 256)
_WORTH_IT = 1.05
_TRIALS = 5
_LONGEST_TRIAL_S = 1.0


class Network(Protocol):
    """A network ready to run. Safe to call from several threads."""

    runtime: str  # what runs it, as a person reads it: "OpenVINO, bfloat16"

    def __call__(self, *inputs: Inputs) -> tuple[npt.NDArray[np.float32], ...]:
        """Arrays of ``n`` rows to arrays of ``n`` rows. Raises ``EncoderError`` when the network cannot do it."""


@dataclass(frozen=True)
class Graph:
    """A network that can be had: its identity, and how torch builds it when it is not converted yet."""

    name: str  # in the name of its folder, for people
    identity: tuple[str, ...]  # hash of its weights, versions of the libraries that build it
    build: Callable[[], torch.nn.Module]
    example: Callable[[], tuple[torch.Tensor, ...]]  # inputs of two rows


def load(graph: Graph, runtime: str | None = None) -> Network:
    """The network in ``runtime``, or in the best one here. Raises ``EncoderUnavailable``."""
    chosen = runtime or preferred()
    if chosen == "cuda":
        return _Torch(graph.build(), device="cuda")
    if chosen == "openvino":
        try:
            return _OpenVINO(_converted(graph), bfloat16=has_bfloat16())
        except _NotConvertible as error:
            log.warning("network_not_converted", network=graph.name, reason=str(error), runs_in="torch")
    return _Torch(graph.build(), device="cpu")


def load_onnx(path: Path) -> Network:
    """The network of an ONNX file, through OpenVINO. Raises ``EncoderUnavailable``."""
    try:
        model = _core().read_model(path)
    except RuntimeError as error:
        raise EncoderUnavailable(
            f"{path.name} cannot be read as ONNX ({_first_line(error)}). Export it again, or copy it again."
        ) from error
    return _OpenVINO(model, bfloat16=has_bfloat16())


@cache
def preferred() -> str:
    """``ENCODER_RUNTIME`` when it is set, else the fastest that this machine has."""
    if settings.ENCODER_RUNTIME:
        return str(settings.ENCODER_RUNTIME)
    if _has_cuda():
        return "cuda"
    return "openvino" if _has_openvino() else "torch"


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


def best_batch(network: Network, rows: Callable[[int], tuple[Inputs, ...]], *, limit: int = 64) -> int:
    """The batch size up to ``limit`` with which ``network`` does most rows a second. ``rows(n)`` makes ``n`` of them.

    Takes some batches' time; stops at the first size that is hardly better, or for which there is no memory.
    """
    best, best_rate = _BATCHES[0], 0.0
    for size in _BATCHES:
        if size > limit:
            break
        inputs = rows(size)
        try:
            network(*inputs)
            times: list[float] = []
            while len(times) < _TRIALS and sum(times) < _LONGEST_TRIAL_S:
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


def _folder(graph: Graph) -> Path:
    identity = sha256("|".join((*graph.identity, *versions("openvino"))).encode()).hexdigest()[:16]
    name = "".join(char if char.isalnum() or char in "-._" else "-" for char in graph.name)
    return models_folder() / f"{name}-{identity}"


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


def _converted(graph: Graph) -> Any:
    """The graph as OpenVINO reads it, from disk if it is there. Raises ``_NotConvertible``."""
    folder = _folder(graph)
    file = folder / "model.xml"
    with only_one(folder):
        if not file.exists():
            began = time.perf_counter()
            model = _convert(graph)
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _openvino().save_model(model, part / "model.xml", compress_to_fp16=False)
            (part / "identity.json").write_text(json.dumps({"name": graph.name, "identity": graph.identity}))
            os.replace(part, folder)
            log.info("network_converted", network=graph.name, seconds=round(time.perf_counter() - began, 1))
    return _core().read_model(file)


def _convert(graph: Graph) -> Any:
    import torch

    module = graph.build().eval()
    example = graph.example()
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Tracing warns of every shape that the network's code looks at.
            warnings.simplefilter("ignore")
            return _openvino().convert_model(module, example_input=example)
    except Exception as error:
        # The converter meets what it does not know with exceptions of every kind; torch can run all of it.
        raise _NotConvertible(_first_line(error)) from error


class _OpenVINO:
    def __init__(self, model: Any, *, bfloat16: bool) -> None:
        self.runtime = f"OpenVINO, {'bfloat16' if bfloat16 else 'float32'}"
        self._compiled = _core().compile_model(
            model,
            "CPU",
            {
                # One batch at a time on all cores: batches are large, and a search waits for one text.
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
                "INFERENCE_NUM_THREADS": cores(),
            },
        )
        self._outputs = len(self._compiled.outputs)
        self._own = threading.local()

    def __call__(self, *inputs: Inputs) -> tuple[npt.NDArray[np.float32], ...]:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        try:
            found = self._own.request.infer(list(inputs))
        except RuntimeError as error:
            raise EncoderError(f"OpenVINO could not run the network ({_first_line(error)}).") from error
        return tuple(np.array(found[index], dtype=np.float32) for index in range(self._outputs))


# torch ---------------------------------------------------------------------------------------------------------------


@cache
def _has_cuda() -> bool:
    if version("torch").endswith("+cpu"):
        return False  # known without the seconds that importing it takes
    import torch

    return torch.cuda.is_available()


class _Torch:
    def __init__(self, module: torch.nn.Module, *, device: str) -> None:
        import torch

        self.runtime = "torch, bfloat16 on CUDA" if device == "cuda" else "torch, float32"
        self._device = device
        evaluated: Any = module.eval()
        self._module = evaluated
        if device == "cuda":
            # Tensor cores read channels last.
            self._module = evaluated.to(device, memory_format=torch.channels_last)

    def __call__(self, *inputs: Inputs) -> tuple[npt.NDArray[np.float32], ...]:
        import torch

        is_cuda = self._device == "cuda"
        try:
            with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=is_cuda):
                tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
                if is_cuda:
                    tensors = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
                found = self._module(*tensors)
                if not isinstance(found, tuple):
                    found = (found,)
                return tuple(output.float().cpu().numpy() for output in found)
        except RuntimeError as error:  # also torch.OutOfMemoryError
            raise EncoderError(f"torch could not run the network ({_first_line(error)}).") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
