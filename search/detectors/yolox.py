"""YOLOX from an ONNX file under ``ENCODERS_DIR`` (Ge et al. 2021), as its authors' ``export_onnx.py`` writes it.

A YAML file of the same name beside it may say ``classes`` (a list), ``side`` (of an input whose size the file leaves
open), ``license``, ``title`` and ``description``. Without one, a file of 80 classes has those of COCO.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import yaml
from PIL import Image

from search import weights
from search.weights import WeightsUnavailable

from . import boxes
from .base import SCORE_FLOOR, Detection, DetectorError, DetectorSpec, DetectorUnavailable
from .coco import CLASSES as COCO
from .network import Network, NetworkFile, UnreadableNetwork

log = structlog.get_logger(__name__)

PREFIX = "yolox:"

_STRIDES = (8, 16, 32)
_PADDING = 114
_OVERLAP = 0.45  # as in the authors' demo
_SIDE = 640


class YOLOX:
    def __init__(self, name: str) -> None:
        path = _path(name)
        if not path.is_file():
            raise DetectorUnavailable(f"{path} does not exist. Put the ONNX file of a YOLOX there.")
        described = _described(path)
        self._height, self._width, self._network, columns = _opened(path, described.side)
        # Cells of the three grids, row by row, and the pixels a cell stands for.
        grids = [np.mgrid[: self._height // stride, : self._width // stride] for stride in _STRIDES]
        self._cells = np.concatenate([grid[::-1].reshape(2, -1).T for grid in grids]).astype(np.float32)
        self._strides = np.repeat(_STRIDES, [grid[0].size for grid in grids]).astype(np.float32)[:, None]
        classes = _classes(path, described, columns - 5)
        self.spec = replace(_spec(name, described), classes=classes, image_side=min(self._height, self._width))
        self._classes = classes

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        # One at a time: exported files have their batch size built in, and on a CPU a batch gains nothing.
        return [self._detect(image) for image in images]

    def _detect(self, image: Image.Image) -> list[Detection]:
        batch, size = letterbox(image, self._width, self._height)
        output = self._network(batch)[0][0]
        if output.shape != (len(self._cells), 5 + len(self._classes)):
            raise DetectorError(f"{self.spec.title} gave an output of {output.shape}, which is not that of a YOLOX.")
        in_input, scores, classes = self._decoded(output)
        relative = in_input / np.array([*size, *size])
        best = boxes.suppress(relative, scores, classes, overlap=_OVERLAP)
        return boxes.detections(relative[best], scores[best], [self._classes[index] for index in classes[best]])

    def _decoded(self, output: npt.NDArray[np.float32]) -> tuple[boxes.Boxes, npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Boxes in pixels of the input, scores and classes of the cells that may have an object."""
        classes = output[:, 5:].argmax(axis=1)
        scores = output[:, 4] * output[np.arange(len(output)), 5 + classes]
        likely = scores >= SCORE_FLOOR
        rows, strides = output[likely], self._strides[likely]
        centre = (rows[:, :2] + self._cells[likely]) * strides
        half = np.exp(rows[:, 2:4]) * strides / 2
        return np.concatenate([centre - half, centre + half], axis=1), scores[likely], classes[likely]


def letterbox(image: Image.Image, width: int, height: int) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """An RGB image as ``(1, 3, height, width)`` BGR 0..255, scaled into the upper left corner, and its size there."""
    scale = min(width / image.width, height / image.height)
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    if pixels.shape[2:] != (3,):
        raise DetectorError(f"YOLOX looks at RGB images; this one is {image.mode}.")
    padded = np.full((1, 3, height, width), _PADDING, dtype=np.float32)
    padded[0, :, : size[1], : size[0]] = pixels[:, :, ::-1].transpose(2, 0, 1)
    return padded, size


def spec(name: str) -> DetectorSpec:
    """``yolox:<file under ENCODERS_DIR>``. Opens the YAML file alone.

    Raises ``DetectorUnavailable`` for a path that leads out of there, and for a YAML file that says something else.
    """
    return _spec(name, _described(_path(name)))


def found() -> Iterator[DetectorSpec]:
    """Every ONNX file under ``ENCODERS_DIR`` with a YAML file of detector classes beside it."""
    root = weights.folder()
    if not root.is_dir():
        return
    for path in sorted(root.rglob("*.onnx")):
        name = PREFIX + path.relative_to(root).as_posix()
        try:
            if _described(_path(name)).classes:
                yield spec(name)
        except (DetectorUnavailable, WeightsUnavailable) as error:
            # Whoever names it is told; what else lies there must not keep the rest from being listed.
            log.warning("detector_file_not_listed", path=str(path), reason=str(error))


# What the file says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Described:
    classes: tuple[str, ...] = ()
    side: int = 0  # 0: not said
    text: dict[str, str] = field(default_factory=dict)  # license, title, description


def _path(name: str) -> Path:
    return weights.inside(name.removeprefix(PREFIX))


def _spec(name: str, described: _Described) -> DetectorSpec:
    relative = name.removeprefix(PREFIX)
    return DetectorSpec(
        name=name,
        title=described.text.get("title") or Path(relative).stem,
        description=described.text.get("description") or "A YOLOX from a file of your own.",
        classes=described.classes or COCO,
        license=described.text.get("license") or "not said",
        source=relative,
        load=partial(YOLOX, name),
        image_side=described.side or _SIDE,
        requires=("openvino",),
    )


def _described(path: Path) -> _Described:
    """Raises ``DetectorUnavailable``. Nothing said when there is no YAML file."""
    beside = next((file for end in (".yaml", ".yml") if (file := path.with_suffix(end)).is_file()), None)
    if beside is None:
        return _Described()
    try:
        said = yaml.safe_load(beside.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())[:200]
        raise DetectorUnavailable(f"{beside} cannot be read as YAML ({problem}). Correct it or remove it.") from error
    if not isinstance(said, dict):
        raise DetectorUnavailable(f"{beside} is no mapping. Write “classes:” and a list of names into it.")
    classes = said.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(one, str) and one.strip() for one in classes):
        raise DetectorUnavailable(
            f"“classes” in {beside} is not a list of names. Write one name a line, each after “-”."
        )
    if len(set(classes)) < len(classes):
        raise DetectorUnavailable(f"“classes” in {beside} says a name twice. Give each class a name of its own.")
    side = said.get("side", 0)
    if isinstance(side, bool) or not isinstance(side, int) or side < 0 or side % _STRIDES[-1]:
        raise DetectorUnavailable(
            f"“side” in {beside} is not a multiple of {_STRIDES[-1]}. Write for instance 416 or 640."
        )
    text = {key: str(said[key]) for key in ("license", "title", "description") if said.get(key)}
    return _Described(classes=tuple(classes), side=side, text=text)


def _opened(path: Path, side: int) -> tuple[int, int, Network, int]:
    """Height and width of its input, the network, and the columns of its output. Raises ``DetectorUnavailable``."""
    try:
        file = NetworkFile(path)
    except UnreadableNetwork as error:
        raise DetectorUnavailable(
            f"{path} cannot be read as ONNX ({error}). Export the model again, or copy the file again."
        ) from error
    shapes = file.input_shapes()
    shape = shapes[0] if len(shapes) == 1 else ()
    if len(shape) != 4 or shape[1] not in (3, None):
        raise _not_a_yolox(path, f"its input is {_said(*shapes)}, not 1×3×height×width")
    height, width = shape[2] or side or _SIDE, shape[3] or side or _SIDE
    if side and {side} != {height, width}:
        raise DetectorUnavailable(
            f"{path} takes images of {height}×{width}, but the YAML file beside it says a side of {side}. Correct “side”."
        )
    if height % _STRIDES[-1] or width % _STRIDES[-1]:
        raise _not_a_yolox(path, f"its input of {height}×{width} is not a multiple of {_STRIDES[-1]}")
    cells = sum((height // stride) * (width // stride) for stride in _STRIDES)
    try:
        if shape != (1, 3, height, width):
            file.set_input_shape((1, 3, height, width))
        outputs = file.output_shapes()
        output = outputs[0] if len(outputs) == 1 else ()
        columns = output[2] if len(output) == 3 else None
        if len(output) != 3 or output[1] != cells or columns is None or columns < 6:
            raise _not_a_yolox(path, f"its output is {_said(*outputs)}, not 1×{cells}×(5 + classes)")
        return height, width, file.compiled(), columns
    except UnreadableNetwork as error:
        raise DetectorUnavailable(
            f"{path} does not run at 1×3×{height}×{width} ({error}). Export the model again for that size."
        ) from error


def _classes(path: Path, described: _Described, number: int) -> tuple[str, ...]:
    if described.classes:
        if len(described.classes) != number:
            raise DetectorUnavailable(
                f"{path} has {number} classes, but the YAML file beside it names {len(described.classes)}. "
                "Correct “classes”, in the order of the training."
            )
        return described.classes
    if number != len(COCO):
        raise DetectorUnavailable(
            f"{path} has {number} classes and nothing says what they are. Write them as “classes” into "
            f"{path.with_suffix('.yaml').name} beside it, in the order of the training."
        )
    return COCO


def _not_a_yolox(path: Path, why: str) -> DetectorUnavailable:
    return DetectorUnavailable(
        f"{path} is not a YOLOX as export_onnx.py writes it: {why}. Export it again, without --decode_in_inference."
    )


def _said(*shapes: tuple[int | None, ...]) -> str:
    return " and ".join("×".join("?" if side is None else str(side) for side in shape) or "open" for shape in shapes)
