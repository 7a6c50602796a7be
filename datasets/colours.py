"""The share of the eleven basic colour terms in an image.

The terms are those of Berlin & Kay 1969 ("Basic Color Terms"). A colour is named by its nearest prototype in CIELAB:
the focal colours that Sturges & Whitfield 1995 ("Locating basic colours in the Munsell space") and Berlin & Kay
report, as sRGB, with lighter and darker members of the same name beside them, since one name covers a wide region.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

COLOUR_NAMES = ("black", "blue", "brown", "grey", "green", "orange", "pink", "purple", "red", "white", "yellow")

_PROTOTYPES: dict[str, tuple[str, ...]] = {
    "black": ("000000", "141414", "1c1a20", "1a1612"),
    "blue": ("0067a5", "0000ff", "1e3a8a", "4f9bd9", "87b9e8", "00a0d0", "123060", "27408b"),
    "brown": ("593319", "80461b", "6f4e37", "8b5a2b", "422518", "a67b5b", "9a6a3c"),
    "grey": ("555555", "848484", "b0b0b0", "3d3d3d", "6b7078", "9a958c"),
    "green": ("008856", "00a000", "27a64c", "006400", "7fbf5f", "355e3b", "6b8e23", "90d090", "55702c", "00ff00"),
    "orange": ("f38400", "ff8c1a", "e25822", "ffa54f", "d2691e"),
    "pink": ("ffb7c5", "ea9399", "ff69b4", "f4c2c2", "de6fa1", "ffa0b4"),
    "purple": ("875692", "602f6b", "9c51b6", "b695c0", "5f2a9c", "86608e", "4b0082", "c060d0"),
    "red": ("be0032", "ff0000", "cc1a2e", "8e1022", "e03c31", "a01018"),
    "white": ("ffffff", "f2f3f4", "e8e8e4", "f5f0e6"),
    "yellow": ("f3c300", "ffe600", "fada5e", "e8d24a", "d4af37", "ffff00"),
}

_BITS = 5  # 32 levels a channel: a table of 32,768 names
_LEVELS = 1 << _BITS


def shares(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """``(h, w, 3)`` uint8 sRGB → ``(11,)`` shares that add up to 1, in the order of ``COLOUR_NAMES``."""
    cells = (rgb >> (8 - _BITS)) @ np.array([_LEVELS**2, _LEVELS, 1], dtype=np.uint16)
    counts = np.bincount(_table().take(cells.ravel()), minlength=len(COLOUR_NAMES))
    return (counts / max(counts.sum(), 1)).astype(np.float32)


def as_bytes(shares: npt.NDArray[np.float32]) -> bytes:
    """Eleven bytes, 255 is all: what is stored of a box."""
    return (shares * 255).round().astype(np.uint8).tobytes()


@cache
def _table() -> npt.NDArray[np.uint8]:
    """The name of every cell of the sRGB cube."""
    levels = (np.arange(_LEVELS) + 0.5) * (256 / _LEVELS)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    prototypes = [[int(code[i : i + 2], 16) for i in (0, 2, 4)] for name in COLOUR_NAMES for code in _PROTOTYPES[name]]
    owner = np.array([i for i, name in enumerate(COLOUR_NAMES) for _ in _PROTOTYPES[name]], dtype=np.uint8)
    distances = np.linalg.norm(_lab(cube)[:, None] - _lab(np.array(prototypes))[None], axis=-1)
    return owner[distances.argmin(axis=1)]


def _lab(rgb: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """CIELAB (D65) of sRGB 0..255, by the CIE formulas."""
    linear = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    xyz /= (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
