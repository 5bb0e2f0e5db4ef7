"""From a file to its content: JSON or JSON lines, perhaps gzipped, whatever it is called, with keys written twice."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.answers import MERGED
from timechat.lfs import refuse_pointer

_GZIP = b"\x1f\x8b"
IN_MEMORY = "predictions"  # how messages call what comes from no file


class JsonObject(dict[str, Any]):
    """An object whose keys were perhaps written several times.

    Attributes:
        repeated: the keys and values that came again; the first value of a key is the one in the dict.
    """

    def __init__(self, pairs: Sequence[tuple[str, Any]]):
        super().__init__()
        self.repeated: list[tuple[str, Any]] = []
        for key, value in pairs:
            if key in self:
                self.repeated.append((key, value))
            else:
                self[key] = value


@dataclass(frozen=True)
class Document:
    """One file's content.

    Attributes:
        name: of the file, for messages.
        content: a list of rows, or an object.
        places: where each row of the list stands, such as "line 3".
    """

    name: str
    content: Any
    places: Sequence[str] = ()

    def rows(self) -> Iterator[tuple[str, Any]]:
        """The rows of a list with their places. Raises PredictionError where the content is no list."""
        if not isinstance(self.content, list):
            raise PredictionError(f"{self.name}: expected a list or JSON lines, found {shown(self.content)}")
        return zip(self.places, self.content, strict=True)

    def items(self) -> Iterator[tuple[str, tuple[str, Any]]]:
        """The keys and values of an object, keys that stand twice as well. Raises PredictionError as `rows`."""
        if not isinstance(self.content, dict):
            raise PredictionError(f"{self.name}: expected an object, found {shown(self.content)}")
        return ((f"key {key!r}", (str(key), value)) for key, value in items_of(self.content))


def items_of(content: dict[str, Any]) -> list[tuple[str, Any]]:
    """The keys and values of an object, and then the keys that were written again."""
    return [*content.items(), *(content.repeated if isinstance(content, JsonObject) else ())]


def shown(value: Any) -> str:
    """The beginning of a value, for messages: always text that can be written."""
    return ascii(value)[:60]


def read_documents(source: str | Path | Any) -> list[Document]:
    """The content of a file, of the files in a folder, or of a list or dict. Raises PredictionError."""
    if not isinstance(source, str | Path):
        return [_document(IN_MEMORY, source)]
    path = Path(source)
    if not path.is_dir():
        return [_read(path)]
    if (path / MERGED).is_file():
        return [_read(path / MERGED)]
    files = sorted(path.glob("*.json"))
    if not files:
        raise PredictionError(f"{path}: holds neither {MERGED} nor .json files; name a file of predictions")
    return [_read(file) for file in files]


def _read(path: Path) -> Document:
    if not path.is_file():
        raise PredictionError(f"{path}: no such file of predictions; correct --predictions")
    refuse_pointer(path, PredictionError)
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if content.startswith(_GZIP) else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise PredictionError(f"{path}: is a broken gzip file ({error}); write it again") from error
    except UnicodeDecodeError as error:
        raise PredictionError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    if not text.strip():
        raise PredictionError(f"{path}: is empty; there is nothing to score")
    return _parse(path, text)


def _parse(path: Path, text: str) -> Document:
    """As lines where the name or the content says so, else as one JSON value."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if path.with_suffix(path.suffix.removesuffix(".gz")).suffix in (".jsonl", ".ndjson") or (
        len(lines) > 1 and _is_object(lines[0][1])
    ):
        try:
            rows = [_load(f"{path}, line {number}", line) for number, line in lines]
        except PredictionError:
            if _is_object(lines[0][1]) or not text.lstrip().startswith(("[", "{")):
                raise
        else:
            if not (len(rows) == 1 and isinstance(rows[0], list)):
                return Document(str(path), rows, [f"line {number}" for number, _ in lines])
    return _document(str(path), _load(str(path), text))


def _document(name: str, content: Any) -> Document:
    if not isinstance(content, list | dict):
        raise PredictionError(f"{name}: expected a list or an object of predictions, found {shown(content)}")
    return Document(name, content, [f"item {number}" for number in range(len(content))])


def _is_object(line: str) -> bool:
    """Whether a line alone is an object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _load(where: str, text: str) -> Any:
    """A JSON value. NaN is read: whoever needs the number refuses it by the field's name."""
    try:
        return json.loads(text, object_pairs_hook=JsonObject)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise PredictionError(f"{where}: not valid JSON at {place} ({error.msg}); is the file cut off?") from error
    except ValueError as error:  # a number of thousands of digits
        raise PredictionError(f"{where}: {error}; correct the number") from error
    except RecursionError as error:
        raise PredictionError(f"{where}: is nested too deeply to be a file of predictions") from error
