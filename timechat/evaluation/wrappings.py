"""What an answer comes in: reasoning in front of it, tags and boxes around it, code fences, JSON.

Parsers read what is inside. The time taken is linear in the length of the answer.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from typing import Any

_FENCE = re.compile(r"```(?:json|text|markdown|python|srt|vtt)?", re.IGNORECASE)
_THOUGHT = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis)"
_THOUGHTS = re.compile(rf"<{_THOUGHT}>.*?(?:</{_THOUGHT}>|\Z)", re.IGNORECASE | re.DOTALL)
_REST_OF_THOUGHTS = re.compile(rf"\A.*</{_THOUGHT}>", re.IGNORECASE | re.DOTALL)  # the prompt opened the tag
_TAGGED = re.compile(r"<(?:final_?)?answer>(.*?)(?:</(?:final_?)?answer>|\Z)", re.IGNORECASE | re.DOTALL)
_BOXED = re.compile(r"\\boxed ?\{((?:[^{}]|\{[^{}]{0,200}\}){0,400})\}")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|textbf) ?\{([^{}]{0,200})\}")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # "１２" -> "12", as in Chinese answers
_CLOSING_TAG = re.compile(r"</\w{1,20}>")
_FINAL = re.compile(
    r"(?:\bfinal answer|(?:^|\n)[#*\s]{0,6}(?:answer|conclusion))[*\"' ]{0,4}(?::|\bis\b|\n)[*\"' ]{0,4}", re.IGNORECASE
)

_MAX_OPENINGS = 64  # braces that begin no object; what has more of them is not JSON
_FLAT = re.compile(r"\{[^{}]{1,2000}\}")


def unwrap(answer: str) -> str:
    """An answer without reasoning and fences, or what its last answer tag or `\\boxed{}` holds.

    Full-width characters and HTML's entities become the plain ones. Reasoning that never ends (an answer that was
    cut) leaves nothing.
    """
    plain = html.unescape(answer.translate(_FULL_WIDTH))
    text = _REST_OF_THOUGHTS.sub("", _THOUGHTS.sub("\n", _FENCE.sub("\n", plain)))
    for wrapping in (_TAGGED, _BOXED):
        inside = [match[1].strip() for match in wrapping.finditer(text)]
        if inside and inside[-1]:
            text = inside[-1]
    return _CLOSING_TAG.sub(" ", _TEXT_COMMAND.sub(r"\1", text))


def after_final_answer(text: str) -> str:
    """What follows the last "final answer:" or the last line that begins with "answer:"; everything without one."""
    rest = _FINAL.split(text)[-1]
    return rest if rest.strip() else text


def json_objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object in a text that is not inside of another one; also in Python's notation.

    Of a list that was cut, the objects that are whole.
    """
    return [found for found, _, _ in _decoded(text)]


def json_list(text: str) -> list[Any] | None:
    """The list that a text is as a whole; None if it is none, or says more than that."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def without_json(text: str) -> str:
    """The text around its JSON objects: what these do not say by their keys is not read from their letters."""
    parts, end = [], 0
    for _, start, stop in _decoded(text):
        parts.append(text[end:start])
        end = stop
    return "\n".join([*parts, text[end:]])


def _decoded(text: str) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Each object, and where it begins and ends."""
    decoder = json.JSONDecoder()
    position = failures = 0
    while failures < _MAX_OPENINGS and (start := text.find("{", position)) >= 0:
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            failures += 1
            flat = _FLAT.match(text, start)
            value, position = (_python_value(flat[0]), flat.end()) if flat else (None, start + 1)
        if isinstance(value, dict):
            yield value, start, position
        else:
            position = start + 1


def _python_value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
