"""Encoders of one's own, described by a YAML file in ``ENCODERS_DIR``: ONNX files, or a Python class beside it.

``ENCODERS_DIR/faces.yaml`` is listed as ``own:faces``::

    title: Faces
    description: Finds the same face again.
    license: MIT
    image:
      file: faces.onnx          # takes (n, 3, height, width) float32, gives (n, dimension)
      resize: 128               # short side, or [height, width]; the input's size where it says one
      crop: [112, 112]          # the input's size where it says one
      interpolation: bilinear
      mean: [0.5, 0.5, 0.5]     # of values in 0..1
      std: [0.5, 0.5, 0.5]
      output: embedding         # the first one where this is not said
    text:                       # beside ``image``: one space for both; alone: an encoder of texts
      file: words.onnx          # takes (n, tokens) int64 ids, and a mask where it has two inputs
      tokenizer: tokenizer.json
      max_tokens: 77
      pad_to: 77                # only for networks trained on one length
      pad_id: 0

or ``class: faces.Faces``: a class ``Faces`` in ``ENCODERS_DIR/faces.py``, also named ``python:faces.Faces``. It has
the class attributes ``dimension`` and ``accepts`` (a set of "image", "text") and, for what it accepts,
``preprocess(image)`` with ``encode_images(inputs)``, and ``encode_texts(texts)``, each giving ``(n, dimension)``.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import structlog
import yaml
from PIL import Image

from search import weights

from . import runtime
from .base import Accepts, Array, EncoderError, EncoderSpec, EncoderUnavailable, Output, unit
from .images import ImageInput, ImageNetwork
from .texts import TextNetwork

log = structlog.get_logger(__name__)

PREFIX = "own:"
PYTHON_PREFIX = "python:"
_IMAGE_KEYS = {"file", "resize", "crop", "interpolation", "mean", "std", "output"}
_TEXT_KEYS = {"file", "tokenizer", "max_tokens", "pad_to", "pad_id", "output"}
_KEYS = {"title", "description", "license", "image", "text", "class"}


@dataclass(frozen=True)
class _Description:
    """What the YAML file says."""

    path: Path
    title: str = ""
    description: str = ""
    license: str = ""
    image: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    python: str = ""

    @property
    def accepts(self) -> frozenset[Accepts]:
        said = {"image": self.image, "text": self.text}
        return frozenset(cast(Accepts, one) for one, what in said.items() if what)

    def file(self, said: Mapping[str, Any], key: str = "file") -> Path:
        name = said.get(key)
        if not isinstance(name, str):
            raise EncoderUnavailable(f"{self.path} names no {key}. Add one, relative to its folder.")
        path = weights.inside(str((self.path.parent / name).relative_to(weights.folder())))
        if not path.is_file():
            raise EncoderUnavailable(f"{self.path} names {name}, which does not exist beside it. Put it there.")
        return path


def found() -> Iterator[EncoderSpec]:
    """Those that ``ENCODERS_DIR`` describes now; a file that cannot be read is logged and passed over."""
    for path in sorted(weights.folder().glob("*.yaml")):
        try:
            description = _read(path)
        except EncoderUnavailable as error:
            log.warning("encoder_description_unreadable", path=str(path), reason=str(error))
            continue
        if description.image or description.text or description.python:
            yield _spec(f"{PREFIX}{path.stem}", description)


def spec(name: str) -> EncoderSpec:
    """Raises ``EncoderUnavailable``, ``WeightsUnavailable``."""
    path = weights.inside(f"{name.removeprefix(PREFIX)}.yaml")
    if not path.is_file():
        raise EncoderUnavailable(f"There is no {path}. Describe the encoder there.")
    return _spec(name, _read(path))


def python_spec(name: str) -> EncoderSpec:
    """Raises ``EncoderUnavailable``, ``WeightsUnavailable``."""
    return _spec(name, _Description(weights.folder() / "-", title=name, python=name.removeprefix(PYTHON_PREFIX)))


def _read(path: Path) -> _Description:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise EncoderUnavailable(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]}).") from error
    if not isinstance(said, dict):
        raise EncoderUnavailable(f"{path} holds no description. Write image:, text: or class: into it.")
    if said.keys() <= {"classes", "side", "license", "title", "description"}:
        return _Description(path)  # it describes a detector's file
    for part, keys in ((said, _KEYS), (said.get("image"), _IMAGE_KEYS), (said.get("text"), _TEXT_KEYS)):
        if part is not None and not isinstance(part, dict):
            raise EncoderUnavailable(f"{path}: image and text are each a mapping, with a file and its preprocessing.")
        if unknown := sorted(str(key) for key in (part or {}).keys() - keys):
            raise EncoderUnavailable(
                f"{path} says “{unknown[0]}”, which means nothing here. Use {', '.join(sorted(keys))}."
            )
    return _Description(
        path,
        title=str(said.get("title") or path.stem),
        description=str(said.get("description") or ""),
        license=str(said.get("license") or ""),
        image=said.get("image") or {},
        text=said.get("text") or {},
        python=str(said.get("class") or ""),
    )


def _spec(name: str, description: _Description) -> EncoderSpec:
    accepts = description.accepts
    if description.python:
        accepts = frozenset({"image", "text"})  # until its code has been read
    modalities = frozenset(str(one) for one in accepts)
    if "image" in accepts and description.text:
        modalities = frozenset({"image", "text"})
    load = partial(_load, name, description)
    return EncoderSpec(
        name=name,
        title=description.title,
        description=description.description or "Described by a file in ENCODERS_DIR.",
        modalities=modalities,
        outputs=(),
        license=description.license or "not stated",
        source=str(description.path) if description.path.name != "-" else description.python,
        load=load,
        prepare=lambda report: load().spec,
    )


def _load(name: str, description: _Description) -> Any:
    return Python(name, description) if description.python else Onnx(name, description)


# ONNX ----------------------------------------------------------------------------------------------------------------


class Onnx:
    def __init__(self, name: str, description: _Description) -> None:
        self._images = _image_network(description) if description.image else None
        self._texts = _text_network(description) if description.text else None
        dimensions = {one.dimension for one in (self._images, self._texts) if one}
        if len(dimensions) != 1:
            raise EncoderUnavailable(
                f"{description.path}: the network of images gives {self._images and self._images.dimension} values, that of "
                f"texts {self._texts and self._texts.dimension}: they are not of one space. Describe them in two files."
            )
        network = self._images or self._texts
        assert network is not None
        self.runtime = network.runtime
        self.spec = _completed(
            _spec(name, description),
            dimensions.pop(),
            description.accepts,
            image_side=self._images.preprocess.least_side if self._images else 0,
        )

    @property
    def batch_size(self) -> int:
        return self._images.batch_size if self._images else 1

    def preprocess(self, image: Image.Image) -> Any:
        if self._images is None:
            raise EncoderError(f"{self.spec.title} reads texts, no images.")
        return self._images.preprocess(image)

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        if self._images is None:
            raise EncoderError(f"{self.spec.title} reads texts, no images.")
        return {self.spec.outputs[0].name: self._images.encode(inputs)}

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        if self._texts is None:
            raise EncoderError(f"{self.spec.title} reads images, no texts.")
        return {self.spec.outputs[0].name: self._texts.encode(texts)}


def _completed(found: EncoderSpec, dimension: int, accepts: frozenset[Accepts], *, image_side: int) -> EncoderSpec:
    name = "joint" if len(accepts) == 2 else "visual" if "image" in accepts else "text"
    return replace(
        found,
        outputs=(Output(name, dimension, accepts),),
        modalities=frozenset(str(one) for one in accepts),
        image_side=image_side,
    )


def _image_network(description: _Description) -> ImageNetwork:
    said = description.image
    path = description.file(said)
    file = runtime.OnnxFile(path)
    shape = file.inputs[0]
    if len(file.inputs) != 1 or len(shape) != 4 or shape[1] not in (3, None):
        raise EncoderUnavailable(
            f"{path.name} takes {file.described_inputs()}; an encoder of images takes one input (n, 3, height, width). "
            "Export it again so."
        )
    try:
        crop = _pair(said.get("crop") or (shape[2:] if None not in shape[2:] else said["resize"]))
        resize = said.get("resize") or crop
        rows = ImageInput(
            resize=resize if isinstance(resize, int) else _pair(resize),
            crop=crop,
            interpolation=said.get("interpolation", "bicubic"),
            mean=_three(said.get("mean", (0, 0, 0))),
            std=_three(said.get("std", (1, 1, 1))),
        )
        rows(Image.new("RGB", (64, 64)))
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderUnavailable(
            f"{description.path}: image cannot be understood ({type(error).__name__}: {error}). Give resize as a number or "
            "[height, width], crop as [height, width], mean and std as three numbers."
        ) from error
    if any(size not in (None, side) for size, side in zip(shape[2:], rows.crop, strict=True)):
        raise EncoderUnavailable(
            f"{path.name} takes images of {shape[2]} × {shape[3]}, and {description.path.name} crops them to {rows.crop[0]} × "
            f"{rows.crop[1]}. Make the two the same."
        )
    network = file.of_pixels(rows.mean, rows.std, rows.crop, output=said.get("output"))
    return ImageNetwork(network, rows, who=description.title, dimension=_dimension(network, rows.rows(2), path))


def _text_network(description: _Description) -> TextNetwork:
    from tokenizers import Tokenizer

    said = description.text
    path = description.file(said)
    file = runtime.OnnxFile(path)
    if len(file.inputs) not in (1, 2) or any(len(shape) != 2 for shape in file.inputs):
        raise EncoderUnavailable(
            f"{path.name} takes {file.described_inputs()}; an encoder of texts takes ids (n, tokens), and a mask of the same "
            "shape. Export it again so."
        )
    try:
        tokenizer = Tokenizer.from_file(str(description.file(said, "tokenizer")))
        max_tokens, pad_to = int(said.get("max_tokens", 256)), said.get("pad_to")
        pad_id = int(said.get("pad_id", 0))
    except EncoderUnavailable:
        raise
    except Exception as error:
        # tokenizers raises bare exceptions.
        raise EncoderUnavailable(f"{description.path}: text cannot be understood ({error}).") from error
    network = file.of_ids(output=said.get("output"))
    takes_mask = len(file.inputs) == 2
    ids = np.ones((2, pad_to or 8), dtype=np.int64)
    dimension = _dimension(network, (ids, ids) if takes_mask else (ids,), path)
    return TextNetwork(
        network,
        tokenizer,
        dimension=dimension,
        max_tokens=max_tokens,
        pad_to=pad_to,
        pad_id=pad_id,
        takes_mask=takes_mask,
        who=description.title,
    )


def _dimension(network: runtime.Network, rows: tuple[Any, ...], path: Path) -> int:
    try:
        shape = network(*rows)[0].shape
    except EncoderError as error:
        raise EncoderUnavailable(f"{path.name} could not be run on two rows. {error}") from error
    if len(shape) != 2 or shape[0] != 2 or shape[1] == 0:
        raise EncoderUnavailable(
            f"{path.name} gives an output of shape {shape} for two rows; an encoder gives one vector each: (2, dimension). "
            "Name another output, or export the pooled one."
        )
    return int(shape[1])


def _pair(said: Any) -> tuple[int, int]:
    height, width = (said, said) if isinstance(said, int) else said
    return int(height), int(width)


def _three(said: Any) -> tuple[float, float, float]:
    red, green, blue = said
    return float(red), float(green), float(blue)


# Python --------------------------------------------------------------------------------------------------------------


class Python:
    """A class of somebody's own, in the shape of our encoders. One call at a time: it may know nothing of threads."""

    batch_size = 32

    def __init__(self, name: str, description: _Description) -> None:
        made = _class(description.python)
        try:
            self._own = made()
            accepts = frozenset(cast(Accepts, str(one)) for one in self._own.accepts)
            dimension = int(self._own.dimension)
        except Exception as error:
            # Anybody's code.
            raise EncoderUnavailable(
                f"{description.python} cannot be made ({type(error).__name__}: {error})."
            ) from error
        if not accepts or not accepts <= {"image", "text"} or dimension < 1:
            raise EncoderUnavailable(
                f"{description.python}: accepts is a set of “image” and “text”, dimension a number."
            )
        self._lock = threading.Lock()
        self._title = description.title
        self.runtime = description.python
        self.batch_size = int(getattr(self._own, "batch_size", Python.batch_size))
        self.spec = _completed(
            _spec(name, description), dimension, accepts, image_side=int(getattr(self._own, "image_side", 224))
        )

    def preprocess(self, image: Image.Image) -> Any:
        return self._own.preprocess(image)

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        with self._lock:
            return {self.spec.outputs[0].name: unit(self._own.encode_images(inputs), who=self._title)}

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        with self._lock:
            return {self.spec.outputs[0].name: unit(self._own.encode_texts(texts), who=self._title)}


def _class(named: str) -> Any:
    """``module.Class`` of a file in ``ENCODERS_DIR``, and of nowhere else: whoever may choose an encoder must not be able
    to run any code that this machine has."""
    module, _, name = named.rpartition(".")
    path = weights.inside(f"{module.replace('.', '/')}.py")
    if not module or not path.is_file():
        raise EncoderUnavailable(f"There is no {path} for {named}. Put the module there.")
    loading = importlib.util.spec_from_file_location(f"kindred_own_{module.replace('.', '_')}", path)
    assert loading is not None
    assert loading.loader is not None
    code = importlib.util.module_from_spec(loading)
    try:
        loading.loader.exec_module(code)
        return getattr(code, name)
    except Exception as error:
        # Anybody's code.
        raise EncoderUnavailable(f"{path} cannot be imported ({type(error).__name__}: {error}).") from error
