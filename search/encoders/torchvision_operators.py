"""timm and transformers import torchvision, whose wheel from PyPI has compiled operators for CUDA builds of torch only.

On a CPU build of torch its import fails at operators that nobody calls here. Declaring them by name lets it import;
this is done only after the real ones have failed to load.
"""

from __future__ import annotations

import threading
from typing import Any

_lock = threading.Lock()
_declared: list[Any] = []


def make_importable() -> None:
    """To be called before timm or transformers is imported."""
    with _lock:
        if _declared:
            return
        try:
            import torchvision  # noqa: F401  (imported to see whether it can be)
        except RuntimeError:
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declared.append(library)  # the operators live as long as this object
