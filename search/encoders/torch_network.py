"""A network in torch: in float32 on a CPU, in float32 or float16 on a CUDA device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import structlog
import torch

from .base import EncoderError, EncoderUnavailable, last_line

if TYPE_CHECKING:
    from .runtime import Rows

log = structlog.get_logger(__name__)

# Whoever else took the memory of the device may have given it back by then.
_SHORT_FOR_S = 60.0


class TorchNetwork:
    """A batch for which the device has no memory is halved until it fits; later ones begin at what did.

    ``float16`` is for what matrices multiply: as fast as bfloat16, with eight times its precision, but nothing above 65,504.
    A batch with greater values is done again in float32, and so are all that follow.
    """

    def __init__(self, module: torch.nn.Module, *, device: str, float16: bool = False) -> None:
        """Raises ``EncoderUnavailable`` when the device cannot take it."""
        is_cuda = device == "cuda"
        self.most_rows = 256 if is_cuda else 64
        evaluated: Any = module.eval()
        self.module = evaluated
        self._device = device
        self._float16 = float16
        self._room, self._short_until = 0, 0.0  # values of the first input that fitted, and how long that counts
        if is_cuda:
            try:
                # Tensor cores read channels last.
                self.module = evaluated.to(device, memory_format=torch.channels_last)
            except (AssertionError, RuntimeError) as error:  # a torch without CUDA; no device, or no memory there
                raise EncoderUnavailable(
                    f"The CUDA device cannot take the network ({last_line(error)}). Free its memory, or set "
                    "ENCODER_RUNTIME=openvino to use the CPU."
                ) from error

    @property
    def runtime(self) -> str:
        return f"torch, {'float16' if self._float16 else 'float32'}{' on CUDA' if self._device == 'cuda' else ''}"

    def in_float16(self) -> TorchNetwork:
        return TorchNetwork(self.module, device=self._device, float16=True)

    def __call__(self, *inputs: Rows) -> tuple[npt.NDArray[np.float32], ...]:
        number = len(inputs[0])
        size = self._rows_that_fit(inputs[0])
        start = 0
        parts = []
        while start < number:
            try:
                parts.append(self._outputs([rows[start : start + size] for rows in inputs]))
                start += size
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise EncoderError(f"The CUDA device has no memory for one row ({last_line(error)}).") from error
                size = -(-size // 2)
                self._room, self._short_until = size * inputs[0][0].size, time.monotonic() + _SHORT_FOR_S
                log.warning("batch_halved", rows=number, now=size)
            except RuntimeError as error:
                raise EncoderError(f"torch could not run the network ({last_line(error)}).") from error
        return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))

    def _rows_that_fit(self, rows: Rows) -> int:
        if time.monotonic() > self._short_until:
            return len(rows)
        return min(len(rows), max(1, self._room // rows[0].size))

    def _outputs(self, inputs: list[Rows]) -> tuple[npt.NDArray[np.float32], ...]:
        found = self._run(inputs, float16=self._float16)
        if not self._float16 or _are_finite(found):
            return found
        exact = self._run(inputs, float16=False)
        if _are_finite(exact):  # else it is the input's fault
            log.warning("float16_overflowed", goes_on_in="float32")
            self._float16 = False
        return exact

    def _run(self, inputs: list[Rows], *, float16: bool) -> tuple[npt.NDArray[np.float32], ...]:
        with torch.inference_mode(), torch.autocast(self._device, torch.float16, enabled=float16):
            found = self.module(*(self._tensor(rows) for rows in inputs))
            outputs = found if isinstance(found, tuple) else (found,)
            return tuple(output.float().cpu().numpy() for output in outputs)

    def _tensor(self, rows: Rows) -> torch.Tensor:
        first = rows[0]
        tensor = torch.empty(
            (len(rows), *first.shape),
            dtype=torch.from_numpy(np.empty(0, first.dtype)).dtype,
            # From there a device fetches it by itself; torch keeps such memory, which is dear to get.
            pin_memory=self._device == "cuda",
        )
        np.stack(list(rows), out=tensor.numpy())
        return tensor.to(self._device, non_blocking=True)


def _are_finite(arrays: tuple[npt.NDArray[np.float32], ...]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)
