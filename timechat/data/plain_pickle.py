"""A pickle of plain data, read without running anything that it asks for.

A pickle is a program. It does harm only through classes and functions that it names, so this reader knows none: it
builds dicts, lists, tuples, strings and numbers, and refuses a file that asks for anything else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from timechat.errors import AnnotationError
from timechat.lfs import refuse_pointer

_CONTAINERS = (dict, list, tuple)
_LEAVES = (str, int, float, bool, type(None))


class _PlainUnpickler(pickle.Unpickler):
    """Without any class, function or outside object."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse: whatever it is, a plain file does not need it."""
        raise pickle.UnpicklingError(f"asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse: nothing lies outside of the file."""
        raise pickle.UnpicklingError("asks for an object outside of the file")


def read_plain_pickle(path: str | Path) -> Any:
    """What a pickle holds, if that is only dicts, lists, tuples, strings and numbers.

    Raises:
        AnnotationError: it holds, or asks for, anything else; or it is damaged.
    """
    refuse_pointer(path, AnnotationError)
    data = Path(path).read_bytes()
    try:
        content = _PlainUnpickler(io.BytesIO(data)).load()
        _check_plain(content, len(data))
    except Exception as error:  # damaged and hostile bytes raise whatever they lead to
        raise AnnotationError(
            f"{path}: refused, because it is not a pickle of plain data ({type(error).__name__}: {str(error)[:200]}); "
            "download it again, from its own page"
        ) from error
    return content


def _check_plain(content: Any, most: int) -> None:
    """Raise UnpicklingError for other types, and for more values than a file of `most` bytes can spell out.

    Containers that contain one another over and over make a few bytes look like billions of values.
    """
    left, stack = most, [content]
    while stack:
        value = stack.pop()
        left -= 1
        if left < 0:
            raise pickle.UnpicklingError("its parts contain one another over and over")
        if isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, _CONTAINERS):
            stack += value
        elif not isinstance(value, _LEAVES):
            raise pickle.UnpicklingError(f"holds an object of the type {type(value).__name__}")
