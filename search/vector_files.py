"""Files of vectors that were computed elsewhere: Parquet, or NPY with a list of ids beside it.

Read piece by piece, in constant memory, and treated as hostile: what a header claims is held against what the file has
before anything is read by it, and nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.errors import Refused

By = Literal["id", "key"]
Name = int | str | None  # what a row calls its item; None when it says nothing

MAX_ROWS = 10_000_000
# A stored vector lies in its row, and a row in one page of 8 KB; an HNSW index of halfvecs ends here too.
MAX_DIMENSION = 4_000
_MAX_KEY_BYTES = 4 * 1024  # an item's key has at most 1,024 characters

_BYTES_PER_BATCH = 8 << 20
_NAMES_PER_BATCH = 8_192
_SAMPLE = 1_000
_NPY_HEADER_BYTES = 64 << 10

# Numbers hardly deflate; what unpacks to this many times its size is made to fill the memory.
_MAX_COMPRESSION_RATIO = 100
_RATIO_MATTERS_ABOVE_BYTES = 64 << 20


class UnreadableVectors(Refused):
    """A file that gives no vectors at all: another format, cut off, of the wrong shape."""


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a file: ``values`` is ``(n, dimension)``, of the file's own precision."""

    values: npt.NDArray[Any]
    # Row of the batch → why it has no usable vector. Its values are zeros.
    problems: dict[int, str] = field(default_factory=dict)


class VectorFile(Protocol):
    """A file whose beginning has been checked."""

    rows: int
    dimension: int
    by: By

    def names(self) -> Iterator[list[Name]]:
        """What each row calls its item, from the first. Raises ``UnreadableVectors``."""

    def batches(self, start: int) -> Iterator[Batch]:
        """The vectors from row ``start`` on. Raises ``UnreadableVectors``."""


def open_file(
    stream: IO[bytes], name: str, *, ids: IO[bytes] | None = None, ids_name: str = "", by: By | None = None
) -> VectorFile:
    """The vectors in ``stream``, a file called ``name``; for NPY their items are listed in ``ids``.

    ``by`` says whether items are called by id or by key where the file does not. Reads the beginning, and for Parquet the
    end; of a list of ids everything, to count it. Raises ``UnreadableVectors``.
    """
    start = _first_bytes(stream, 6)
    if start[:4] == b"PAR1":
        if ids is not None:
            raise UnreadableVectors(f"{name} is Parquet and names its items itself. Send it without {ids_name}.")
        return _ParquetFile(stream, name, by)
    if start == b"\x93NUMPY":
        if ids is None:
            raise UnreadableVectors(f"{name} says nothing of its items. Send their ids or keys beside it, as “ids”.")
        return _NpyFile(stream, name, _open_list(ids, ids_name, by))
    if not start:
        raise UnreadableVectors(f"{name} is empty (0 bytes). Choose the file again.")
    if start[:2] == b"PK":
        raise UnreadableVectors(f"{name} is a zip or .npz archive. Send one array, saved with numpy.save.")
    raise UnreadableVectors(f"{name} is neither Parquet nor NPY, by its first bytes. Send one of these.")


def _first_bytes(stream: IO[bytes], number: int) -> bytes:
    stream.seek(0)
    found = stream.read(number)
    stream.seek(0)
    return found


def _check_rows(name: str, rows: int) -> None:
    if rows == 0:
        raise UnreadableVectors(f"{name} holds no rows.")
    if rows > MAX_ROWS:
        raise UnreadableVectors(f"{name} has {rows:,} rows; the limit is {MAX_ROWS:,}. Split it up.")


def _check_dimension(name: str, dimension: int) -> None:
    if not 1 <= dimension <= MAX_DIMENSION:
        raise UnreadableVectors(
            f"The vectors of {name} have {dimension:,} values; a space takes 1 to {MAX_DIMENSION:,}."
        )


def _rows_per_batch(dimension: int) -> int:
    return max(1, _BYTES_PER_BATCH // (8 * dimension))


# Parquet -------------------------------------------------------------------------------------------------------------

_VECTOR = "vector"


class _ParquetFile:
    """Columns ``key`` or ``id``, and ``vector``. When both are there the key counts: ids are of one installation."""

    def __init__(self, stream: IO[bytes], name: str, by: By | None) -> None:
        self._name = name
        try:
            metadata = pq.read_metadata(stream)
            # Without reading ahead: a row group may be the whole file.
            self._file = pq.ParquetFile(
                stream,
                metadata=metadata,
                pre_buffer=False,
                buffer_size=1 << 20,
                read_dictionary=["key"] if "key" in metadata.schema.to_arrow_schema().names else [],
            )
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise UnreadableVectors(
                f"{name} is not a Parquet file that can be read ({_said(error)}). Write it again."
            ) from error
        self.by = by or ("key" if "key" in schema.names else "id")
        for column in (self.by, _VECTOR):
            if schema.names.count(column) != 1:
                found = ", ".join(schema.names)[:200]
                raise UnreadableVectors(
                    f"{name} has no column “{column}” (found: {found}). It takes id or key, and vector."
                )
        kind = schema.field(_VECTOR).type
        if not _is_list(kind) or not pa.types.is_floating(kind.value_type):
            raise UnreadableVectors(f"The column “vector” of {name} holds {kind}; it takes lists of floating numbers.")
        _check_name_type(name, self.by, schema.field(self.by).type)
        self.rows = self._file.metadata.num_rows
        _check_rows(name, self.rows)
        self._check_claims(stream, kind)
        self.dimension = kind.list_size if pa.types.is_fixed_size_list(kind) else self._usual_length()
        _check_dimension(name, self.dimension)

    def names(self) -> Iterator[list[Name]]:
        for batch in self._read(self.by, _NAMES_PER_BATCH):
            yield _names(batch.column(0), self.by)

    def batches(self, start: int) -> Iterator[Batch]:
        first, skip = 0, start
        while first < self._file.num_row_groups and skip >= self._file.metadata.row_group(first).num_rows:
            skip -= self._file.metadata.row_group(first).num_rows
            first += 1
        groups = range(first, self._file.num_row_groups)
        for batch in self._read(_VECTOR, _rows_per_batch(self.dimension), groups):
            # A resumed upload begins inside a row group.
            rows = batch.column(0).slice(min(skip, len(batch)))
            skip = max(0, skip - len(batch))
            if len(rows):
                yield _batch(rows, self.dimension)

    def _read(self, column: str, batch_size: int, groups: range | None = None) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._file.iter_batches(batch_size, row_groups=groups, columns=[column], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableVectors(f"{self._name} is damaged ({_said(error)}). Write it again.") from error

    def _usual_length(self) -> int:
        """That of most of the first rows, in a column whose type does not say it."""
        for batch in self._read(_VECTOR, _SAMPLE):
            lengths = pc.list_value_length(batch.column(0)).drop_null().to_numpy(zero_copy_only=False)
            if len(lengths):
                return int(np.bincount(np.minimum(lengths, MAX_DIMENSION + 1)).argmax())
            break
        raise UnreadableVectors(f"The first {_SAMPLE:,} rows of {self._name} have no vector at all.")

    def _check_claims(self, stream: IO[bytes], kind: pa.DataType) -> None:
        """Against a footer that promises more than there is, and against what unpacks without end."""
        stream.seek(0, io.SEEK_END)
        size = stream.tell()
        unpacked = 0
        metadata = self._file.metadata
        wanted = {self.by, _VECTOR}
        rows = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            rows += group.num_rows
            for at in range(group.num_columns):
                chunk = group.column(at)
                root = chunk.path_in_schema.split(".")[0]
                if root not in wanted:
                    continue
                begin = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)
                if min(begin, chunk.total_compressed_size) < 0 or begin + chunk.total_compressed_size > size:
                    raise UnreadableVectors(
                        f"{self._name} promises more than its {size:,} bytes hold. It may be cut off: write it again."
                    )
                width = kind.value_type.bit_width // 8 if root == _VECTOR else 8
                unpacked += max(chunk.total_uncompressed_size, chunk.num_values * width)
        if rows != self.rows:
            raise UnreadableVectors(
                f"{self._name} is damaged: it states {self.rows:,} rows, and {rows:,} in its row groups. Write it again."
            )
        if unpacked > _RATIO_MATTERS_ABOVE_BYTES and unpacked > _MAX_COMPRESSION_RATIO * size:
            raise UnreadableVectors(
                f"{self._name} would unpack to {unpacked:,} bytes from {size:,}: that looks like a bomb. If its vectors "
                "are real, write it without compression."
            )


def _said(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")[:160] if str(error).strip() else type(error).__name__


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _check_name_type(name: str, by: By, kind: pa.DataType) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if by == "id" and not pa.types.is_integer(kind):
        raise UnreadableVectors(
            f"The column “id” of {name} holds {kind}; ids are integers. Call a column of keys “key”."
        )
    if by == "key" and not (is_text or pa.types.is_integer(kind)):
        raise UnreadableVectors(f"The column “key” of {name} holds {kind}; keys are strings.")


def _names(column: pa.Array, by: By) -> list[Name]:
    if isinstance(column, pa.DictionaryArray):
        # A long string that many rows share would fill the memory if each had its own: it is nobody's key.
        is_long = pc.greater(pc.binary_length(column.dictionary), _MAX_KEY_BYTES).take(column.indices)
        column = column.dictionary.take(pc.if_else(is_long, None, column.indices))
    return [_name(value, by) for value in column.to_pylist()]


def _name(value: Any, by: By) -> Name:
    return None if value is None else str(value) if by == "key" else int(value)


def _batch(column: pa.Array, dimension: int) -> Batch:
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(column.type):
        lengths = np.where(column.is_null().to_numpy(zero_copy_only=False), -1, dimension)
    is_usable = lengths == dimension
    flat = column.filter(pa.array(is_usable)).flatten().to_numpy(zero_copy_only=False)
    values = np.zeros((len(column), dimension), dtype=flat.dtype)
    values[is_usable] = flat.reshape(-1, dimension)
    problems = {
        int(at): "it has no vector."
        if lengths[at] < 0
        else f"its vector has {lengths[at]:,} values; the others have {dimension:,}."
        for at in np.flatnonzero(~is_usable)
    }
    return Batch(values, problems)


# NPY -----------------------------------------------------------------------------------------------------------------


class _NpyFile:
    """One array of shape ``(n, dimension)``."""

    def __init__(self, stream: IO[bytes], name: str, items: _List) -> None:
        self._array = _NpyArray(stream, name)
        if len(self._array.shape) != 2:
            raise UnreadableVectors(
                f"{name} has the shape {self._array.shape}; it takes (rows, dimension), one row an item."
            )
        if self._array.dtype.kind != "f" or self._array.dtype.itemsize > 8:
            raise UnreadableVectors(f"{name} holds {self._array.dtype}; it takes float16, float32 or float64.")
        self.rows, self.dimension = self._array.shape
        _check_rows(name, self.rows)
        _check_dimension(name, self.dimension)
        if items.rows != self.rows:
            raise UnreadableVectors(
                f"{name} holds {self.rows:,} vectors, {items.name} {items.rows:,} names. They go together row by row."
            )
        self.by = items.by
        self._items = items

    def names(self) -> Iterator[list[Name]]:
        return self._items.names()

    def batches(self, start: int) -> Iterator[Batch]:
        for values in self._array.read(start, _rows_per_batch(self.dimension)):
            yield Batch(values)


class _NpyArray:
    """An array in a file, whose header has been checked against the file's size."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name = stream, name
        # The header alone is parsed, so that none can make us read the rest.
        head = io.BytesIO(_first_bytes(stream, _NPY_HEADER_BYTES))
        try:
            version = np.lib.format.read_magic(head)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            self.shape, in_columns, self.dtype = read(head)
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableVectors(f"{name} is not an NPY file that can be read. Save it with numpy.save.") from error
        if self.dtype.hasobject:
            raise UnreadableVectors(
                f"{name} holds Python objects, which are never read here. Save an array of numbers."
            )
        if self.dtype.names or self.dtype.subdtype:
            raise UnreadableVectors(f"{name} holds records ({self.dtype}). Save a plain array.")
        if in_columns and len(self.shape) > 1:
            raise UnreadableVectors(
                f"{name} is stored column by column. Save numpy.ascontiguousarray(…) of it, which is stored row by row."
            )
        self._offset = head.tell()
        self._row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        stream.seek(0, io.SEEK_END)
        there, promised = stream.tell() - self._offset, self._row_bytes * math.prod(self.shape[:1])
        if there < promised or any(side < 0 for side in self.shape):
            raise UnreadableVectors(
                f"{name} is cut off: its header promises {promised:,} bytes, and {there:,} follow. Upload it again."
            )

    def read(self, start: int, number: int) -> Iterator[npt.NDArray[Any]]:
        """The rows from ``start`` on, ``number`` at a time."""
        self._stream.seek(self._offset + start * self._row_bytes)
        for at in range(start, self.shape[0], number):
            rows = min(number, self.shape[0] - at)
            read = self._stream.read(rows * self._row_bytes)
            if len(read) != rows * self._row_bytes:
                raise UnreadableVectors(f"{self._name} ends in the middle of a row. Upload it again.")
            yield np.frombuffer(read, dtype=self.dtype).reshape(rows, *self.shape[1:])


# Lists of items ------------------------------------------------------------------------------------------------------


class _List(Protocol):
    """What the rows of an NPY file are, in their order."""

    name: str
    rows: int
    by: By

    def names(self) -> Iterator[list[Name]]: ...


def _open_list(stream: IO[bytes], name: str, by: By | None) -> _List:
    if _first_bytes(stream, 6) == b"\x93NUMPY":
        return _NpyList(stream, name, by)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in (".csv", ".txt"):
        raise UnreadableVectors(f"{name} is no list of items by its name. Send .npy, .csv or .txt.")
    return _TextList(stream, name, by, has_header=suffix == ".csv")


class _NpyList:
    """Integers are ids and strings are keys, unless told otherwise."""

    def __init__(self, stream: IO[bytes], name: str, by: By | None) -> None:
        self.name = name
        self._array = _NpyArray(stream, name)
        kind = self._array.dtype.kind
        if len(self._array.shape) != 1 or kind not in "iuU":
            raise UnreadableVectors(
                f"{name} holds {self._array.dtype} of shape {self._array.shape}; it takes integers or strings, one a row."
            )
        if by == "id" and kind == "U":
            raise UnreadableVectors(f"{name} holds strings; ids are integers. Send them as keys.")
        self.by = by or ("key" if kind == "U" else "id")
        (self.rows,) = self._array.shape

    def names(self) -> Iterator[list[Name]]:
        per_batch = max(1, min(_NAMES_PER_BATCH, _BYTES_PER_BATCH // max(self._array.dtype.itemsize, 1)))
        for values in self._array.read(0, per_batch):
            yield [_name(value, self.by) for value in values.tolist()]


class _TextList:
    """One name a line. A CSV says by its header what they are; lines of a text file are keys unless told otherwise."""

    def __init__(self, stream: IO[bytes], name: str, by: By | None, *, has_header: bool) -> None:
        self.name = name
        self._stream, self._has_header = stream, has_header
        self._column = 0
        self.by = by or "key"
        if has_header:
            header = [cell.strip().lower() for cell in next(self._lines(), [])]
            self.by = by or ("key" if "key" in header else "id")
            if self.by not in header:
                raise UnreadableVectors(
                    f"{name} has no column “{self.by}” in its first line. It takes a header that says id or key."
                )
            self._column = header.index(self.by)
        self.rows = sum(len(names) for names in self.names())

    def names(self) -> Iterator[list[Name]]:
        lines = self._lines()
        if self._has_header:
            next(lines)
        names: list[Name] = []
        for cells in lines:
            names.append(self._read(cells[self._column]) if self._column < len(cells) else None)
            if len(names) == _NAMES_PER_BATCH:
                yield names
                names = []
        yield names

    def _read(self, cell: str) -> Name:
        if self.by == "key":
            return cell or None
        # What is no number is the name of nothing, and refused as such with its own words.
        return int(cell) if cell.strip().isdecimal() and len(cell) < 20 else cell or None

    def _lines(self) -> Iterator[list[str]]:
        self._stream.seek(0)
        text = io.TextIOWrapper(self._stream, encoding="utf-8-sig", errors="replace", newline="")
        try:
            if self._has_header:
                yield from (cells for cells in csv.reader(text) if cells)
            else:
                yield from ([line] for line in (raw.rstrip("\r\n") for raw in text) if line)
        except csv.Error as error:
            raise UnreadableVectors(f"{self.name} is not a CSV that can be read ({error}).") from error
        finally:
            text.detach()
