"""Answers that repeat the prompt: the prompt's own example does not count as an answer.

A prompt that shows the wanted form ("in the form: The given query happens in 12.0 - 19.5 seconds.") is sometimes
repeated instead of an answer or before it. Its times would be parsed, and sometimes be right by chance. The same words
are an answer where the prompt does not have them: with another prompt, and in annotations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from timechat.evaluation.times import clean, find_times

ONLY_ECHO = "only the example of the prompt"  # the reason of a failure

_SENTENCE_END = re.compile(r"[.!?](?=[\s\"'”’)]|$)|\n|: (?=[\"'“‘A-Z0-9])")
_EDGE = " \"'“”‘’`."
_LONGEST_RUN = 8  # sentences
_FRAMES = re.compile(
    r"\b(?:video contains [0-9]{1,5} frames|frame is) sampled at [0-9., ]+ ?seconds?\.?", re.IGNORECASE
)
_SHOWN = re.compile(
    r"\b(?:for example|for instance|e\.g\.|example(?: (?:answer|output|is))?) ?[:,] ?"
    r"[\"'“‘][^\"'“”‘’\n]{1,400}[\"'”’]\.?",
    re.IGNORECASE,
)


def without_echo(answer: str, prompt: str = "") -> str:
    """An answer without the parts that only repeat the prompt.

    Taken out, wherever they stand word for word (white space, kind of dash and case do not matter): the prompt, if it
    names times; its sentences that do, one after the other or each with a unit of its own; an example that the answer
    itself calls so and puts in quotes ("for example: '5 - 9 seconds'"); the sentence that tells the model its frames'
    times.

    Args:
        answer: of the model.
        prompt: what the model was asked, or the part of it that shows an example.

    Returns:
        The rest, perhaps nothing; the answer as it was where nothing is repeated.
    """
    cleaned = clean(answer)
    rest = _SHOWN.sub(_unless_timed, _FRAMES.sub(" ", cleaned))
    pattern = _pattern_of(prompt)
    if pattern is not None:
        rest = pattern.sub(" ", rest)
    return answer if rest == cleaned else rest.strip()


def _unless_timed(shown: re.Match[str]) -> str:
    return " " if any(time.unit for time in find_times(shown[0])) else shown[0]


@lru_cache(maxsize=64)
def _pattern_of(prompt: str) -> re.Pattern[str] | None:
    """What finds a prompt and its timed passages in cleaned text; longer ones first."""
    passages = sorted(_timed_passages(clean(prompt)), key=len, reverse=True)
    if not passages:
        return None
    passages.insert(0, clean(prompt).strip(_EDGE))
    words = "|".join(r"\s{1,2}".join(map(re.escape, passage.split())) for passage in passages)
    return re.compile(rf"(?<![\w.])[\"']?(?:{words})(?!\w|[.:][0-9])\.?[\"']?", re.IGNORECASE)


def _timed_passages(prompt: str) -> Iterator[str]:
    """Sentences that name a time with a unit, each alone, and joined to neighbours that have numbers."""
    ends = [*(match.end() for match in _SENTENCE_END.finditer(prompt)), len(prompt)]
    run: list[tuple[int, bool]] = []  # where the sentences of a run with numbers begin, and which have a unit
    for begin, end in zip([0, *ends], ends, strict=False):
        times = find_times(prompt[begin:end])
        run = [*run[1 - _LONGEST_RUN :], (begin, any(time.unit for time in times))] if times else []
        for index, (first, _) in enumerate(run):
            if any(timed for _, timed in run[index:]):
                yield prompt[first:end].strip(_EDGE)
