"""Where the files of a model are: a folder under ``ENCODERS_DIR``, else the cache of the Hugging Face hub, filled from
there on demand.

Whatever its origin, a model is then read from a folder, without a network.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

from datasets.errors import Refused

log = structlog.get_logger(__name__)

Report = Callable[[int, int], None]  # bytes that have come, of how many

# An owner and a name, or a name alone; neither begins with a dot or a dash.
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
# What libraries read of a repository: not its copies for other frameworks, which are as large again.
_WEIGHTS = re.compile(r"(?:(?!onnx/|openvino/)[^/]+/)?(?:model|pytorch_model)(?:-\d+-of-\d+)?\.(safetensors|bin)")
_SMALL = re.compile(r"(?:(?!onnx/|openvino/)[^/]+/)?[^/]+\.(?:json|txt|model|jinja)|README\.md")
_SMALL_BYTES = 64 << 20
_ANSWERS_WITHIN_S = 10.0
_ROOM_LEFT = 1 << 30
_REACHABLE_FOR_S = 300.0
_REACHABLE_WITHIN_S = 2.0


class WeightsUnavailable(Refused):
    """The files of a model cannot be had; the message says what to do."""


def folder() -> Path:
    """What people put there themselves."""
    return Path(settings.ENCODERS_DIR).resolve()


def inside(relative: str) -> Path:
    """The path under ``ENCODERS_DIR``, there or not, links followed. Raises ``WeightsUnavailable`` for one outside."""
    root = folder()
    try:
        path = (root / relative).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a zero byte
        raise WeightsUnavailable(
            f"“{relative}” is no path that can be followed. Name a file or folder under {root}."
        ) from error
    if path == root or not path.is_relative_to(root):
        raise WeightsUnavailable(f"“{relative}” leads out of {root}. Put the file there and name it relative to that.")
    return path


@dataclass(frozen=True)
class Checkpoint:
    """A model as somebody named it: a folder under ``ENCODERS_DIR`` (``path``), or an id of the hub."""

    said: str
    path: Path | None

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.said} on the Hugging Face hub"


def find(said: str) -> Checkpoint:
    """Looks at names only. Raises ``WeightsUnavailable`` for what is neither a folder there nor an id of the hub."""
    path = inside(said)
    if path.is_dir():
        return Checkpoint(said, path)
    if not _HUB_ID.fullmatch(said) or ".." in said:
        raise WeightsUnavailable(
            f"“{said}” is neither a folder under {folder()} nor an id of the Hugging Face hub. "
            "Put the folder there, or name a model as owner/name."
        )
    return Checkpoint(said, None)


def is_weights(name: str) -> bool:
    """Whether a file of this path in a model's folder holds its weights."""
    return bool(_WEIGHTS.fullmatch(name))


def is_read(name: str) -> bool:
    """Whether a file of this path in a model's folder has a say in its vectors."""
    return is_weights(name) or (bool(_SMALL.fullmatch(name)) and name != "README.md")


def local(checkpoint: Checkpoint) -> Path | None:
    """The folder with the files of the model, if they are on this machine already. Asks no network."""
    return checkpoint.path or _fetched(checkpoint) or _cached_by_others(checkpoint)


def _fetched(checkpoint: Checkpoint) -> Path | None:
    """The folder that ``fetch`` has filled, if nobody has emptied the cache since."""
    note = _note(checkpoint)
    if not note.is_file():
        return None
    said = json.loads(note.read_text())
    folder = Path(said["folder"])
    return folder if all((folder / name).is_file() for name in said["files"]) else None


def _note(checkpoint: Checkpoint) -> Path:
    return Path(settings.DATA_DIR) / "models" / "fetched" / f"{checkpoint.said.replace('/', '--')}.json"


def _cached_by_others(checkpoint: Checkpoint) -> Path | None:
    """The folder that another program has filled, as far as can be told without the hub."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(checkpoint.said, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
    # A download that was cut off leaves the small files and no weights, or not all parts of them.
    parts = {int(match.group(1)) for name in names if (match := re.search(r"-of-(\d+)\.", name))}
    found = [name for name in names if is_weights(name)]
    return folder if found and (not parts or len(found) >= max(parts)) else None


def fetch(checkpoint: Checkpoint, report: Report = lambda done, total: None) -> Path:
    """The folder with all files of the model, downloaded unless it is here. ``report`` may raise to stop it; what has come
    stays, and a later call goes on.

    Raises ``WeightsUnavailable``.
    """
    if path := checkpoint.path or _fetched(checkpoint):
        return path
    from huggingface_hub import hf_hub_download

    try:
        repository = _repository(checkpoint)
    except WeightsUnavailable:
        # What another program has left is not asked for first: it may have taken a part of the files only.
        if path := _cached_by_others(checkpoint):
            return path
        raise
    wanted = _wanted(repository.siblings)
    total = sum(size for _, size in wanted)
    _check_room(checkpoint, total)
    progress = _Progress(report, total)
    path = Path()
    for name, size in wanted:
        try:
            path = Path(hf_hub_download(checkpoint.said, name, revision=repository.sha, tqdm_class=progress.bar()))
        except Exception as error:
            # The hub's errors, its HTTP library's and the disk's have no common ancestor.
            if progress.stopped:
                raise progress.stopped from None
            raise _unavailable(checkpoint, error) from error
        progress.over(size)
    filled = path.parents[len(Path(wanted[-1][0]).parts) - 1]
    note = _note(checkpoint)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"folder": str(filled), "files": [name for name, _ in wanted]}))
    log.info("weights_fetched", model=checkpoint.said, bytes=total)
    return filled


def download_size(checkpoint: Checkpoint) -> int:
    """Bytes that ``fetch`` would have to fetch. Asks the hub. Raises ``WeightsUnavailable``."""
    if local(checkpoint):
        return 0
    return sum(size for _, size in _wanted(_repository(checkpoint).siblings))


def _repository(checkpoint: Checkpoint) -> Any:
    from huggingface_hub import HfApi

    try:
        repository = HfApi().model_info(checkpoint.said, files_metadata=True, timeout=_ANSWERS_WITHIN_S)
    except Exception as error:
        # The hub's errors, httpx's and its own offline mode's have no common ancestor.
        raise _unavailable(checkpoint, error) from error
    if not _wanted(repository.siblings):
        raise WeightsUnavailable(
            f"{checkpoint} has no weights that can be read here (model.safetensors or pytorch_model.bin). "
            "Name another model, or another form of this one."
        )
    return repository


def _wanted(siblings: Iterable[Any] | None) -> list[tuple[str, int]]:
    """Names and bytes of the files to fetch, weights last; none without weights."""
    files = [(str(file.rfilename), int(file.size or 0)) for file in siblings or ()]
    weights = [(name, size, match) for name, size in files if (match := _WEIGHTS.fullmatch(name))]
    safe = {str(Path(name).parent) for name, _, match in weights if match.group(1) == "safetensors"}
    chosen = [
        (name, size)
        for name, size, match in weights
        if match.group(1) == "safetensors" or str(Path(name).parent) not in safe
    ]
    small = [(name, size) for name, size in files if _SMALL.fullmatch(name) and size <= _SMALL_BYTES]
    return small + chosen if chosen else []


class _Progress:
    """Bytes of the files that are over, and of the one that is on its way."""

    def __init__(self, report: Report, total: int) -> None:
        self.stopped: Exception | None = None
        self._report = report
        self._total = total
        self._over = 0
        self._coming = 0

    def came(self, number: int) -> None:
        self._coming += number
        try:
            self._report(min(self._over + self._coming, self._total), self._total)
        except Exception as error:
            # Remembered, since it may not get through the library that calls this.
            self.stopped = error
            raise

    def over(self, size: int) -> None:
        self._over, self._coming = self._over + size, 0
        self.came(0)

    def bar(self) -> Any:
        from huggingface_hub.utils import tqdm

        came = self.came

        class Told(tqdm):
            """Draws nothing."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> bool | None:
                came(int(n or 0))
                return None

        return Told


def _check_room(checkpoint: Checkpoint, total: int) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE)
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if free < total + _ROOM_LEFT:
        raise WeightsUnavailable(
            f"{checkpoint} has {total / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free at {place}. "
            "Make room there, or set HF_HOME to another disk."
        )


def _unavailable(checkpoint: Checkpoint, error: Exception) -> WeightsUnavailable:
    from huggingface_hub import errors, is_offline_mode

    copy = f"copy its folder to {folder() / checkpoint.said}"
    if is_offline_mode():
        return WeightsUnavailable(
            f"{checkpoint} is not on this machine, and HF_HUB_OFFLINE is set. Unset it, or {copy}."
        )
    if isinstance(error, errors.GatedRepoError):
        return WeightsUnavailable(
            f"{checkpoint} is given out to those who accept its terms only. Accept them on its page and set HF_TOKEN, "
            f"or {copy}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsUnavailable(
            f"There is no model {checkpoint}, or it is private. Check the name, set HF_TOKEN for a private one, or {copy}."
        )
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return WeightsUnavailable(f"{checkpoint} cannot be fetched ({reason}). Check the network, or {copy}.")


# Whether there is a hub at all ---------------------------------------------------------------------------------------

_asked: tuple[float, bool] | None = None
_asking = threading.Lock()


def hub_is_reachable() -> bool:
    """Whether downloads can be proposed. Asked at most every five minutes, for two seconds."""
    global _asked
    from huggingface_hub import is_offline_mode

    if is_offline_mode():
        return False
    with _asking:
        if _asked is None or time.monotonic() - _asked[0] > _REACHABLE_FOR_S:
            _asked = (time.monotonic(), _hub_answers())
        return _asked[1]


def _hub_answers() -> bool:
    from huggingface_hub import get_session
    from huggingface_hub.constants import ENDPOINT

    try:
        return bool(get_session().head(ENDPOINT, timeout=_REACHABLE_WITHIN_S).status_code < 500)
    except Exception as error:
        # Whatever the network, a proxy or a name server says: no downloads can be proposed.
        log.info("hub_unreachable", reason=str(error)[:200])
        return False
