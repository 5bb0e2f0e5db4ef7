"""What the system says about files, as typed errors."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from timechat.errors import FileError, TimeChatError


@pytest.mark.parametrize(
    ("number", "doing", "fix"),
    [
        (errno.EACCES, "written", "see to the permissions, or give another path"),
        (errno.EACCES, "read", "see to the permissions, or give another file"),
        (errno.ENOSPC, "written", "free space on its disk, or give another path"),
        (errno.EISDIR, "read", "it is a folder: give a file"),
        (errno.ENOTDIR, "written", "there is a file where a folder must be: give another path"),
        (errno.EEXIST, "written", "there is a file where a folder must be: give another path"),
        (errno.EROFS, "written", "give another path"),
    ],
)
def test_the_path_the_reason_and_the_fix(number: int, doing: str, fix: str) -> None:
    error = FileError("out/x.json", OSError(number, os.strerror(number), "out/.x.json.1.tmp"), doing)
    assert str(error) == f"out/x.json: cannot be {doing} ({os.strerror(number)}); {fix}"
    assert isinstance(error, TimeChatError)
    assert isinstance(error, OSError)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.errno) == (FileError, str(error), number)
