"""Annotation files of rows, as hubs offer them: a JSON list, JSON lines, or parquet; one row per question or video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    json_or_text,
    read_annotation_json,
    read_annotation_text,
)
from timechat.lfs import refuse_pointer

JSON_LINES, PARQUET = ".jsonl", ".parquet"
SUFFIXES = (".json", JSON_LINES, PARQUET)


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        placed: where each stands ("line 3", "row 2"), and itself: a dict, unless the file is broken.
    """

    placed: list[tuple[str, Any]]


def read_annotations(path: str | Path) -> Any:
    """What an annotation file holds, whatever its form.

    Returns:
        `Rows` of JSON lines, parquet and JSON lists; anything else that JSON can be, as it is.

    Raises:
        AnnotationError: naming the file and the fix; also for parquet without pyarrow.
    """
    suffix = Path(path).suffix
    if suffix == JSON_LINES:
        return Rows(_lines(path))
    content = _parquet(path) if suffix == PARQUET else read_annotation_json(path)
    return Rows([(f"row {n}", row) for n, row in enumerate(content)]) if isinstance(content, list) else content


def read_rows(path: str | Path, expected: str) -> list[tuple[str, Any]]:
    """The rows of a file that must hold rows.

    Args:
        expected: what it should hold, in words, for the message: "a list of questions".

    Raises:
        AnnotationError: as `read_annotations`, and for a file that holds something else.
    """
    content = read_annotations(path)
    if not isinstance(content, Rows):
        raise AnnotationError(f"{path}: expected {expected}, found {str(content)[:60]!r}")
    return content.placed


def file_of(folder: Path, name: str) -> Path | None:
    """One part of a download: NAME.json, NAME.jsonl or NAME.parquet in the folder, or the one parquet file of NAME/."""
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    files += sorted((folder / name).glob(f"*{PARQUET}"))[:1]
    return next((file for file in files if file.is_file()), None)


def part_of(path: Path) -> str:
    """The name under which `file_of` finds a file: `yes_no` for yes_no.json and yes_no/test-00000-of-00001.parquet."""
    return path.parent.name if path.suffix == PARQUET and "-of-" in path.stem else path.stem


def _lines(path: str | Path) -> list[tuple[str, Any]]:
    lines = enumerate(read_annotation_text(path).split("\n"), 1)
    return [(f"line {number}", json_or_text(f"{path}: line {number}", line)) for number, line in lines if line.strip()]


def _parquet(path: str | Path) -> list[Any]:
    if not Path(path).is_file():
        raise AnnotationError(f"{path}: no such annotation file; correct its path, in an evaluation --anno-path")
    refuse_pointer(path, AnnotationError)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise AnnotationError(
            f"{path}: reading parquet needs pyarrow ({error}): pip install 'timechat[parquet]'; JSON and JSON lines "
            "with the same columns are read without it"
        ) from error
    try:
        return parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise AnnotationError(f"{path}: cannot be read as parquet ({error}); download it again") from error
