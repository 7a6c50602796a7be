"""Getting items in. ``FORMATS`` lists what can be read; ``job`` does it in the background."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..models import Dataset
from .base import Entry, Format, ImportRefused, Options, Record, Refusal
from .csv_texts import CsvTexts
from .images import Images
from .jsonl_texts import JsonlTexts
from .sources import is_zip

FORMATS: dict[str, Format] = {format.name: format for format in (Images(), CsvTexts(), JsonlTexts())}

# Asking for "imagefolder" is asking for images whose folders are their labels, whatever they look like.
IMAGE_FOLDER = "imagefolder"


def format_for(dataset: Dataset, name: str, wanted: str | None = None) -> Format:
    """The format that reads a file called ``name`` into ``dataset``. Raises ``ImportRefused``."""
    if wanted == IMAGE_FOLDER:
        wanted = Images.name
    if wanted and wanted not in FORMATS:
        raise ImportRefused(f"There is no format “{wanted}”. Use one of: {', '.join([*FORMATS, IMAGE_FOLDER])}.")
    suitable = [format for format in FORMATS.values() if format.modality == dataset.modality]
    if wanted:
        if FORMATS[wanted] not in suitable:
            raise ImportRefused(f"“{dataset.name}” holds {dataset.get_modality_display()}, which {wanted} has none of.")
        return FORMATS[wanted]
    suffix = PurePosixPath(name).suffix.lower()
    for format in suitable:
        if suffix in format.extensions:
            return format
    if dataset.modality == Images.modality:
        return FORMATS[Images.name]  # which says of each file what is wrong with it
    takes = ", ".join(extension for format in suitable for extension in format.extensions)
    raise ImportRefused(f"{name}: “{dataset.name}” holds texts and takes {takes}.")


__all__ = [
    "FORMATS",
    "IMAGE_FOLDER",
    "Entry",
    "Existing",
    "Format",
    "ImportRefused",
    "Options",
    "Record",
    "Refusal",
    "append_upload",
    "format_for",
    "is_zip",
    "start_path_import",
    "start_upload_import",
]

from .job import Existing, append_upload, start_path_import, start_upload_import  # noqa: E402  (it uses the registry)
