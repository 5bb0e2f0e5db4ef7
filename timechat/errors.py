"""Every typed error of TimeChat. Each message names the file, the field, the value and the fix.

`SampleError` marks trouble with one training sample (an unreadable video, a conversation with nothing to learn):
training replaces such a sample and counts it. Everything else stops the program.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any


class TimeChatError(Exception):
    """Base of all errors that a user can cause and fix; entry points print it without a traceback."""


class ConfigError(TimeChatError):
    """A YAML file or `--options` has a setting that is not possible."""


class RegistryError(ConfigError):
    """A name that is not registered."""


class MissingFilesError(ConfigError):
    """Files and folders that a config or a command line names and that are not there, all of them."""


class FileError(TimeChatError, OSError):
    """A file or folder that the system does not let be read or written; also the OSError that it was.

    Args:
        path: as the user knows it.
        error: what the system said.
        doing: read | written | read or written, for the message.
    """

    def __init__(self, path: str | os.PathLike[str], error: OSError, doing: str = "read or written"):
        super().__init__(f"{os.fspath(path)}: cannot be {doing} ({reason_of(error)}); {_fix_of(error, doing)}")
        self.path, self.error, self.doing = os.fspath(path), error, doing
        self.errno = error.errno

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.error, self.doing)


def reason_of(error: OSError) -> str:
    """What the system said, without its number and the path: "Permission denied"."""
    return error.strerror or str(error) or type(error).__name__


def _fix_of(error: OSError, doing: str) -> str:
    """What to do about it."""
    other = "give another path" if "written" in doing else "give another file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"see to the permissions, or {other}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free space on its disk, or {other}"
    if error.errno == errno.EISDIR:
        return "it is a folder: give a file"
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"there is a file where a folder must be: {other}"
    return other


class CheckpointError(TimeChatError):
    """A weight file that is missing, malicious or does not fit the model."""


class AnnotationError(TimeChatError):
    """An annotation file that is broken or lacks something."""


class PredictionError(TimeChatError):
    """A file of predictions that does not fit the run or the ground truth."""


class StoppedError(TimeChatError):
    """What asked for an evaluation did not want to wait for its end."""


class TrainingError(TimeChatError):
    """Training cannot continue, for example because too many samples are unreadable."""


class WorkerError(TrainingError):
    """A process that reads samples hung or died.

    Args:
        message: what happened and what to do.
        files: what a resumed run must not open again: (name of the dataset, path in it, reason).
    """

    def __init__(self, message: str, files: Sequence[tuple[str, str, str]] = ()):
        super().__init__(message)
        self.files = list(files)


class SampleError(TimeChatError):
    """One sample that cannot be used."""


class VideoError(SampleError):
    """A video or image file that cannot be decoded.

    Args:
        path: the file.
        reason: what is wrong with it and what to do, one line.
    """

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


class ConversationError(TimeChatError):
    """A conversation that cannot become token ids; names the setting to change."""


class EmptySupervisionError(SampleError):
    """A conversation that was truncated so early that no answer token is left to learn from."""


class ParseFailure(TimeChatError):
    """An answer of the model that says nothing that can be scored; `reason` says what was expected.

    Args:
        answer: the text that could not be parsed.
        reason: what is missing, one line.

    Attributes:
        reading: what a benchmark's public rule reads in it all the same, for scores by that rule; None for nothing.
    """

    def __init__(self, answer: str, reason: str):
        super().__init__(f"{reason}: {answer[:200]!r}")
        self.answer = answer
        self.reason = reason
        self.reading: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.answer, self.reason)
