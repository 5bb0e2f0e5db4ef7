"""Pickles are read only as far as they are plain data; whatever else they ask for is refused, and never runs."""

from __future__ import annotations

import datetime
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from timechat.data.convert import Conversion, convert
from timechat.data.plain_pickle import read_plain_pickle
from timechat.errors import AnnotationError

PLAIN = {"video-a": [["a", "man"], ["waves"]], "times": [[0.5, 3], [True, None]], "t": ("x", (1, 2.5))}


class Hostile:
    """When it is unpickled, a command runs."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


def written(folder: Path, content: Any, protocol: int | None = None) -> Path:
    """A pickle."""
    path = folder / "x.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read(protocol: int, tmp_path: Path) -> None:
    assert read_plain_pickle(written(tmp_path, PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = written(tmp_path, {"video-a": [Hostile(f"touch {trap}")]}, protocol)
    with pytest.raises(AnnotationError, match=r"x.pkl: refused, because .* plain data .*asks for \w+"):
        read_plain_pickle(path)
    assert not trap.exists()


def test_the_trap_would_run_elsewhere(tmp_path: Path) -> None:
    """So that the test above tests something."""
    pickle.loads(written(tmp_path, Hostile(f"touch {tmp_path / 'trap'}")).read_bytes())
    assert (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    "content",
    [
        {1, 2},
        OrderedDict(a=1),
        np.zeros(2),
        np.float64(1.5),
        datetime.date(2024, 1, 1),
        b"bytes",
        complex(1, 2),
        bytearray(b"x"),
        len,
        [Path("x")],
    ],
    ids=lambda content: type(content).__name__,
)
def test_other_types_are_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="refused"):
        read_plain_pickle(written(tmp_path, content))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04.",
        b"not a pickle",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(ios\nsystem\n.",
        b"Pid\n.",
        b"\x82\x01.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        pickle.dumps(PLAIN)[:-5],
    ],
)
def test_damaged_and_hand_made_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="refused"):
        read_plain_pickle(written(tmp_path, data))


def test_parts_that_contain_one_another_over_and_over_are_refused(tmp_path: Path) -> None:
    content: list[Any] = ["x"]
    for _ in range(40):
        content = [content] * 10
    with pytest.raises(AnnotationError, match="over and over"):
        read_plain_pickle(written(tmp_path, content))
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(AnnotationError, match="over and over"):
        read_plain_pickle(written(tmp_path, endless))


def test_the_converter_of_queryd_uses_it(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "train_list.txt").write_text("video-a\n")
    for name in ("raw", "times"):
        content = pickle.dumps({"video-a": [Hostile(f"touch {trap}")]})
        (tmp_path / f"{name}_captions_combined_filtered-v2.pkl").write_bytes(content)
    with pytest.raises(AnnotationError, match=r"raw_captions_combined_filtered-v2\.pkl: refused"):
        convert(Conversion("queryd", tmp_path, tmp_path / "out.json"))
    assert not trap.exists()
