"""A network file run by OpenVINO."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import DetectorError


class UnreadableNetwork(Exception):
    """OpenVINO cannot make a network of the file, or none of the wanted input shape."""


class NetworkFile:
    """A file that OpenVINO reads: ONNX, a TensorFlow graph. Raises ``UnreadableNetwork``."""

    def __init__(self, path: Path) -> None:
        import openvino

        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise UnreadableNetwork(_last_line(error)) from error

    def input_shapes(self) -> list[tuple[int | None, ...]]:
        """None stands for a side that is open."""
        return [_shape(port) for port in self._model.inputs]

    def output_shapes(self) -> list[tuple[int | None, ...]]:
        return [_shape(port) for port in self._model.outputs]

    def output_names(self) -> list[frozenset[str]]:
        return [frozenset(port.get_names()) for port in self._model.outputs]

    def set_input_shape(self, shape: tuple[int, ...]) -> None:
        """Raises ``UnreadableNetwork``."""
        try:
            self._model.reshape(list(shape))
        except RuntimeError as error:
            raise UnreadableNetwork(_last_line(error)) from error

    def compiled(self) -> Network:
        """Raises ``UnreadableNetwork``."""
        # float32 also where the CPU has bfloat16: with that, scores move by up to .07 (measured with the starter), and
        # a count would depend on the machine.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        try:
            return Network(self._core.compile_model(self._model, "CPU", options))
        except RuntimeError as error:
            raise UnreadableNetwork(_last_line(error)) from error


class Network:
    """Ready to run. Safe to call from several threads."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._own = threading.local()

    def __call__(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """The outputs, in the file's order. Raises ``DetectorError``."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        try:
            found = self._own.request.infer([batch])
        except RuntimeError as error:
            raise DetectorError(f"OpenVINO could not run the network ({_last_line(error)}).") from error
        return [np.array(found[index], dtype=np.float32) for index in range(len(self._compiled.outputs))]


def _shape(port: Any) -> tuple[int | None, ...]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if side.is_dynamic else int(side.get_length()) for side in shape)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
