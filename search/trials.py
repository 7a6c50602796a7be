"""One encoder tried on some items, in a process of its own: its memory can be told and is given back, what ends it ends
nothing else, and it can be stopped at any moment.

It ends with the process that asked for it, lets others go first, and is the first to go when memory runs out.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import psutil
from django.conf import settings
from django.db import connections

from datasets import media
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Item, Modality

from . import encoders
from .encoders import Encoder, EncoderError, EncoderUnavailable
from .encoders.base import Array, EncoderBroken
from .encoders.runtime import cores

# Loading, converting and embedding some hundred items on a slow machine.
_LONGEST_S = 3600
_LOOK_EVERY_S = 0.5
_TEXTS_PER_BATCH = 512
# An embedding import beside it goes on at nearly its full speed.
_NICENESS = 10
# An encoder that fails for this many items, and for each of them alone, is not tried on the rest.
_ALL_FAILED = 4
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    title: str
    license: str
    runtime: str
    dimensions: dict[str, int]  # of its outputs
    seconds: float  # to open and embed all of them
    others_share: float  # of the processors' time, that other work took meanwhile
    memory_bytes: int  # what the process grew by, its greatest moment
    rows: npt.NDArray[np.int64]  # places in what was asked for that have a vector
    vectors: dict[str, Array]  # (rows, dimension) of each output


def run(name: str, ids: Sequence[int], check: Callable[[], None] = lambda: None) -> Trial:
    """Embed the items ``ids`` with the encoder, once what it needs is here and converted.

    ``check`` is called twice a second, and may raise to stop it. Raises ``EncoderUnavailable``.
    """
    # Twice: what converts it the first time needs more memory than what uses it.
    _ask(name, [], check)
    return _ask(name, ids, check)


def _ask(name: str, ids: Sequence[int], check: Callable[[], None]) -> Trial:
    # Without a name in the file system, so that nothing is left when either process is killed.
    with tempfile.TemporaryFile() as answer:
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "encoders", "--try", str(answer.fileno())]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # encoders chat
            stderr=subprocess.PIPE,
            pass_fds=[answer.fileno()],
            text=True,
            errors="replace",
        ) as process:
            try:
                question = json.dumps({"encoder": name, "ids": list(ids), "parent": os.getpid()})
                last_words = _wait(process, question, check)
            except subprocess.TimeoutExpired as error:
                raise EncoderUnavailable(
                    f"{name} was not done with {len(ids)} items after an hour. Take a smaller sample."
                ) from error
            finally:
                process.kill()
        answer.seek(0)
        return _read(name, answer, process.returncode, last_words)


def _wait(process: subprocess.Popen[str], question: str, check: Callable[[], None]) -> str:
    """What it wrote to its error output. Raises ``TimeoutExpired``, and what ``check`` does."""
    until = time.monotonic() + _LONGEST_S
    said: str | None = question
    while True:
        try:
            return process.communicate(said, timeout=_LOOK_EVERY_S)[1]
        except subprocess.TimeoutExpired:
            said = None  # it has begun to read
            check()
            if time.monotonic() > until:
                raise


def _read(name: str, answer: IO[bytes], returncode: int, last_words: str) -> Trial:
    answered = answer.read() if returncode == 0 else b""
    if not answered:
        how = (
            "killed; most likely this machine ran out of memory"
            if returncode == -signal.SIGKILL
            else signal.Signals(-returncode).name
            if returncode < 0
            else f"exit status {returncode}"
        )
        raise EncoderUnavailable(
            f"{name} ended its process ({how}). Its last words: {last_words.strip()[-300:] or 'none'}"
        )
    with np.load(io.BytesIO(answered)) as file:
        arrays = {key: file[key] for key in file.files}
    said = json.loads(str(arrays.pop("said")))
    if problem := said.get("problem"):
        raise EncoderUnavailable(problem)
    return Trial(rows=arrays.pop("rows"), vectors=arrays, **said)


# The other side of it, in that process -------------------------------------------------------------------------------


def answer(question: str, descriptor: int) -> None:
    """Do what ``question`` asks for, and write what came of it to the open file ``descriptor``."""
    asked = json.loads(question)
    _yield_to(asked["parent"])
    try:
        said, arrays = _try(asked["encoder"], asked["ids"])
    except Exception as error:
        # An encoder may be anybody's code, and the next one is to have its turn.
        is_ours = isinstance(error, EncoderUnavailable | EncoderError | encoders.UnknownEncoder)
        said, arrays = {"problem": str(error) if is_ours else f"{type(error).__name__}: {error}"}, {}
    with os.fdopen(os.dup(descriptor), "wb") as file:
        np.savez(file, said=np.array(json.dumps(said)), **arrays)


def _yield_to(parent: int) -> None:
    os.nice(_NICENESS)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        with contextlib.suppress(OSError):  # some containers let nobody write there
            Path("/proc/self/oom_score_adj").write_text("1000")
    if os.getppid() != parent:
        sys.exit("What asked for it has ended.")


def _try(name: str, ids: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    before = psutil.Process().memory_info().rss
    encoders.prepare(name)
    encoder = encoders.get(name)
    batch_size = encoder.batch_size  # tried out before the clock starts
    found = Item.objects.select_related("dataset").in_bulk(ids)
    items = [found.get(pk) for pk in ids]
    watch = _Stopwatch()
    made = _embed(encoder, items, batch_size) if items else _Made()
    seconds, others_share = watch.stop()
    dimensions = {one.name: one.dimension for one in encoder.spec.outputs if one.name in made.batches}
    said = {
        "title": encoder.spec.title,
        "license": encoder.spec.license,
        "runtime": encoder.runtime,
        "dimensions": dimensions,
        "seconds": seconds,
        "others_share": others_share,
        "memory_bytes": max(_greatest_memory() - before, 0),
    }
    vectors = {output: np.concatenate(made.batches[output]) for output in dimensions}
    return said, {"rows": np.array(made.rows, dtype=np.int64), **vectors}


def _greatest_memory() -> int:
    """Bytes."""
    if not sys.platform.startswith("linux"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # ``getrusage`` would count the process that this one was forked from, however large that was.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class _Stopwatch:
    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._others = self._time_of_others()

    def stop(self) -> tuple[float, float]:
        """Seconds, and the share of the processors' time that other processes took meanwhile."""
        seconds = time.perf_counter() - self._began
        others = self._time_of_others() - self._others
        return seconds, min(max(others / (seconds * (os.cpu_count() or 1)), 0.0), 1.0)

    @staticmethod
    def _time_of_others() -> float:
        everybody = psutil.cpu_times()
        idle = everybody.idle + getattr(everybody, "iowait", 0.0)
        return sum(everybody[:8]) - idle - time.process_time()  # guests are counted among the users


@dataclass
class _Made:
    rows: list[int] = field(default_factory=list)
    batches: dict[str, list[Array]] = field(default_factory=dict)

    def add(self, places: Sequence[int], made: dict[str, Array]) -> None:
        self.rows += places
        for output, vectors in made.items():
            self.batches.setdefault(output, []).append(vectors)


def _embed(encoder: Encoder, items: list[Item | None], batch_size: int) -> _Made:
    """What cannot be read, or embedded, has no row. Raises ``EncoderError`` when that is all of it."""
    made, reason = _Made(), ""
    is_text = any(item is not None and item.dataset.modality == Modality.TEXT for item in items)
    encode = encoder.encode_texts if is_text else encoder.encode_batch
    for batch in _texts(items) if is_text else _pictures(encoder, items, batch_size):
        try:
            made.add(list(batch), _checked(encoder, encode(list(batch.values())), len(batch)))
            continue
        except EncoderBroken:
            raise
        except Exception as error:
            # An encoder may be anybody's code. One item may be at fault: each is tried once more, alone.
            reason = str(error) or type(error).__name__
        for place, one in batch.items():
            with contextlib.suppress(Exception):
                made.add([place], _checked(encoder, encode([one]), 1))
        if not made.rows and len(batch) >= _ALL_FAILED:
            break
    if not made.rows:
        raise EncoderError(f"It made no vector of any item: {reason}" if reason else "None of the items could be read.")
    return made


def _checked(encoder: Encoder, made: dict[str, Array], number: int) -> dict[str, Array]:
    wanted = {one.name: one.dimension for one in encoder.spec.outputs}
    if not made:
        raise EncoderError("It gave nothing.")
    for output, vectors in made.items():
        if vectors.shape != (number, wanted[output]):
            raise EncoderError(f"Of {number} items it made “{output}” vectors of shape {vectors.shape}.")
    return made


def _texts(items: list[Item | None]) -> Iterator[dict[int, str]]:
    """By their place, in batches."""
    known = [(place, item.text or "") for place, item in enumerate(items) if item is not None]
    for start in range(0, len(known), _TEXTS_PER_BATCH):
        yield dict(known[start : start + _TEXTS_PER_BATCH])


def _pictures(encoder: Encoder, items: list[Item | None], batch_size: int) -> Iterator[dict[int, Any]]:
    """Opened and prepared in threads; by their place, in batches of those that can be read."""

    def open_item(item: Item | None) -> Any:
        if item is None:
            return None
        try:
            with media.open_original(item) as stream:
                picture = read_image(stream, least_side=encoder.spec.image_side)
        except (UnreadableImage, media.FileGone):
            return None
        finally:
            connections.close_all()
        return encoder.preprocess(picture.pixels)

    with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as decoders:
        for start in range(0, len(items), batch_size):
            opened = decoders.map(open_item, items[start : start + batch_size])
            if batch := {start + at: one for at, one in enumerate(opened) if one is not None}:
                yield batch
