"""Prompt files: where they are, how they are read, and how the query gets into them."""

from __future__ import annotations

from pathlib import Path

from timechat.errors import ConfigError
from timechat.lfs import refuse_pointer

PROMPTS = Path(__file__).with_name("prompts")
QUERY_MARKS = ("{query}", "<query_placeholder>")  # this project's, and the one of published prompt files


def load_prompt(path: str | Path) -> str:
    """The text of a prompt file, without white space around it. Raises ConfigError."""
    refuse_pointer(path, ConfigError)
    try:
        prompt = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a prompt file ({error}); correct --prompt-file") from error
    if not prompt:
        raise ConfigError(f"{path}: the prompt file is empty; write a prompt into it, or correct --prompt-file")
    return prompt


def has_query_mark(prompt: str) -> bool:
    """Whether a prompt has a place for the query."""
    return any(mark in prompt for mark in QUERY_MARKS)


def fill_prompt(prompt: str, query: str) -> str:
    """The prompt with the query in its place."""
    for mark in QUERY_MARKS:
        if mark in prompt:
            return prompt.replace(mark, query)
    return prompt
