"""What went wrong, in words for the page; it goes on working after each of them."""

from __future__ import annotations

import logging
import os

import torch

from timechat.errors import TimeChatError, VideoError

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = (
    "The model ran out of memory. Ask with fewer frames or a shorter answer (both under Settings), or start a new "
    "conversation: long ones need more."
)
NO_VIDEO = "There is no video yet. Drop one on the page, or pick an example."
NO_QUESTION = "Type a question first."
NOTHING_TO_FIND = "Type what to look for, such as: she cracks the egg."


class PageError(TimeChatError):
    """Something that a visitor can put right; the message stands in the page as it is."""


def in_words(error: BaseException, path: str | os.PathLike[str] = "", name: str = "") -> str:
    """The error as a sentence for the visitor; the log gets what only its reader can use.

    Args:
        error: whatever was raised.
        path: a file that the message may name; visitors know it under another name and need not know where it is.
        name: the name that the visitor gave it.
    """
    if is_out_of_memory(error):
        logger.warning("out of memory: %s", error)
        return OUT_OF_MEMORY
    if isinstance(error, VideoError):
        return f"{name or os.path.basename(error.path)} cannot be used: {error.reason}"
    if isinstance(error, TimeChatError):
        message = str(error)
        return message.replace(os.fspath(path), name) if path else message
    logger.error("the page met an error that it does not know", exc_info=error)
    return f"Something went wrong ({type(error).__name__}). The page goes on; the program's log says more."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or beside it."""
    allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's own, on a CPU
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or allocator
