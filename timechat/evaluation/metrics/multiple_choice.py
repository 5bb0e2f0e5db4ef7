"""Multiple choice: which option an answer names, and accuracy overall and per category.

Nothing is guessed: an answer that names no option, or more than one, is a `ParseFailure` and counts as wrong.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from timechat.errors import AnnotationError, ParseFailure
from timechat.evaluation.metrics.intervals import check_known_ids

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_ANSWER = 4000  # characters; an answer that names no option by then never will

_MARKUP = re.compile(r"\*{1,3}|`{1,3}|</?\w{1,12}>")
_BRACKETS = str.maketrans("（）【】［］", "()[][]")
_EDGE = " \t\n.,;:!?\"'“”‘’"

_NOUN = r"(?:options?|choices?|answers?|captions?|sentences?)\b"
_I_SAY = r"(?:choose|pick|select|with|it is|it['’]s)"
_IS = r"(?:\s?(?:is|are|was|would be|should be|must be|:|=)){0,2}"
_RIGHT = r"\s(?:is|seems) (?:the )?(?:most )?(?:correct|right|best|likely|answer)\b"
# What may follow a bare symbol that is meant as an option: no word, because "A man walks" begins with an article.
_END = rf"(?=$|\n|[^\w\s'’-](?!\d)|\s[^\w\s(\[]|\s(?:or|and|because|since|as (?:it|the))\b|{_RIGHT})"
# How a symbol is named. {any}: a symbol in either case, {one}: in capitals, {here}: one of those that there are.
_FORMS = (
    r"(?<!\w)[(\[]\s?({any})\s?(?=[)\].,:]|$)",
    r"(?:^|\n)\s?[\"'“-]{{0,2}}\s?({any})(?:[.):](?![\w.])|(?=\s?(?:\n|$)))",
    r"(?:^|\b{noun}{be}\s?(?:{noun}\s)?|\b{i_say}\s(?:{noun}\s)?)[\"'“]?({one}){end}",
    r"\b{noun}\s[\"'“]?({here})\b(?!['’-])",
    r"(?<!\w)({one})\)?{right}",
)
_ANOTHER = r"[)\]]?\s?(?:,|/|&|,?\s?\b(?:or|and)\b)\s?(?:{noun}\s)?[(\[]?({one})(?:\)|{end})"  # "A or B"

_NEGATED = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|than|instead of)|n['’]t)(?:\s(?!but\b)[\w']{1,20}){0,2}\s[(\[\"'“]{0,2}$",
    re.IGNORECASE,
)
_WINDOW = 60  # characters in front of an option that are searched for it

_YES_OR_NO = re.compile(r"\b(?:yes|no)\s?(?:/|,?\s?\b(?:or|and)\b)\s?(?:yes|no)\b", re.IGNORECASE)
_YES_NO = re.compile(r"(?:^|[.!?\n]\s?|\banswer(?: is)?:?\s)[(\[\"'“]{0,2}(yes|no)\b", re.IGNORECASE)


def parse_choice(answer: str, options: Sequence[str], symbols: str = LETTERS) -> int:
    """Which option an answer names: by its symbol, or by its text said word for word.

    A symbol counts as `(A)`, `[A]`, `(A` at the end, `A.`, `A)` or `A:` at the start of a line, alone, and in
    `answer is A`, `option A` and `A is correct`; an "A" in front of other words is an article. Where no symbol is
    named, the text of exactly one option has to occur: not inside the text of a longer one ("red" in "dark red"), and
    not behind a negation. A "yes" or "no" has to be the first word, and an option of one letter the whole answer.

    Args:
        answer: what the model wrote.
        options: their texts, without symbols; one or more.
        symbols: what stands for each option: letters, or digits.

    Returns:
        Index of the option, from 0.

    Raises:
        ParseFailure: no option is named, or several are, or one that is not there, or symbol and text contradict.
    """
    text = _clean(answer)
    if not text:
        raise ParseFailure(answer, "the answer is empty")
    symbols = symbols[: len(options)]
    plain = [_plain(option) for option in options]
    whole = {index for index, option in enumerate(plain) if option and option == _plain(text)}
    named = list(_named(text, symbols))
    meant = {symbol for symbol, _, denied in named if not denied}
    if len(meant) == 1 and (meant <= set(symbols) or not whole):
        index = symbols.find(meant.pop())
        if index < 0:
            raise ParseFailure(answer, "names an option that is not there")
        if _contradicts(text, (end for _, end, _ in named), index, plain, whole):
            raise ParseFailure(answer, "names one option by its symbol and another by its text")
        return index
    said = whole or (_said(text, plain) if not named else set())
    if len(said) == 1:
        return said.pop()
    raise ParseFailure(answer, "names several options" if meant or said else "names no option")


def parse_yes_no(answer: str) -> bool:
    """Whether an answer says yes: by its first word, the first of a sentence, or `answer is yes`.

    Raises:
        ParseFailure: it says neither, or both.
    """
    text = _clean(answer)
    said = {match[1].lower() for match in _YES_NO.finditer(text)}
    if len(said) != 1 or _YES_OR_NO.search(text):
        raise ParseFailure(answer, "says both yes and no" if said else "says neither yes nor no")
    return said == {"yes"}


def score_choices(
    predictions: Mapping[str, int | None],
    ground_truth: Mapping[str, int],
    categories: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, float]:
    """Accuracy in percent, over all questions and over those of each category.

    Args:
        predictions: id -> index of the named option; None for an answer that could not be parsed. Both that and an
            id that is missing are wrong answers.
        ground_truth: id -> index of the right option; the denominator.
        categories: id -> names of the categories that the question belongs to, in any number.

    Returns:
        "accuracy" and one value per category, in percent; "found" (answers), "parsed" and "expected" as counts.

    Raises:
        PredictionError: an id that the ground truth does not have.
        AnnotationError: the ground truth is empty.
    """
    if not ground_truth:
        raise AnnotationError("the ground truth holds no questions; nothing can be scored")
    check_known_ids(predictions, ground_truth)
    groups: dict[str, list[bool]] = defaultdict(list)
    for key, right in ground_truth.items():
        for name in ("accuracy", *(categories or {}).get(key, ())):
            groups[name].append(predictions.get(key) == right)
    scores = {name: 100.0 * sum(hits) / len(hits) for name, hits in groups.items()}
    parsed = sum(value is not None for value in predictions.values())
    return scores | {"found": len(predictions), "parsed": parsed, "expected": len(ground_truth)}


# Symbols --------------------------------------------------------------------------------------------------------------


def _clean(answer: str) -> str:
    """Without markup; runs of white space become one newline or one space."""
    text = _MARKUP.sub("", answer[:MAX_ANSWER].translate(_BRACKETS))
    return re.sub(r"\s+", lambda m: "\n" if "\n" in m[0] else " ", text).strip()


@functools.cache
def _patterns(symbols: str) -> tuple[list[re.Pattern[str]], re.Pattern[str]]:
    """How a symbol is named, and how another one follows it."""
    letters = symbols[0].isalpha()
    parts = {"one": "[A-Z]" if letters else "[0-9]", "any": "[A-Za-z]" if letters else "[0-9]", "here": f"[{symbols}]"}
    parts |= {"noun": f"(?i:{_NOUN})", "be": f"(?i:{_IS})", "i_say": f"(?i:{_I_SAY})"}
    parts |= {"end": _END, "right": _RIGHT}
    return [re.compile(form.format(**parts)) for form in _FORMS], re.compile(_ANOTHER.format(**parts))


def _named(text: str, symbols: str) -> Iterator[tuple[str, int, bool]]:
    """Every symbol that is named, where it ends, and whether it is denied."""
    forms, following = _patterns(symbols)
    for form in forms:
        for first in form.finditer(text):
            denied = _is_denied(text, first.start(1))
            match: re.Match[str] | None = first
            while match:
                yield match[1].upper(), match.end(1), denied
                match = following.match(text, match.end(1))


def _contradicts(text: str, ends: Iterable[int], index: int, plain: Sequence[str], whole: set[int]) -> bool:
    """Whether the text is another option than its symbol, or stands behind the symbol."""
    behind = {_plain(text[end:].split("\n")[0].lstrip(" )].:")) for end in ends}
    others = {option for option in plain if option and option != plain[index]}
    return bool(behind & others or (whole and index not in whole))


def _is_denied(text: str, start: int) -> bool:
    return _NEGATED.search(text[max(0, start - _WINDOW) : start]) is not None


# Texts ----------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """For comparing: lower case, single spaces, without punctuation around it."""
    return " ".join(text.casefold().split()).strip(_EDGE)


def _said(text: str, plain: Sequence[str]) -> set[int]:
    """Options whose text occurs; longer texts first, and what they cover is taken."""
    rest = " ".join(text.casefold().split())
    said: set[int] = set()
    for option in sorted(set(plain), key=lambda text: (-len(text), text)):
        if not option or (len(option) == 1 and option.isalpha()):
            continue
        pattern = re.compile(rf"(?<!\w)(?<!\d[.:]){re.escape(option)}(?!\w|[.:]\d)")
        places = [match.start() for match in pattern.finditer(rest)]
        if option in ("yes", "no"):
            places = [place for place in places if not rest[:place].strip(_EDGE)]
        if any(not _is_denied(rest, place) for place in places):
            said |= {index for index, other in enumerate(plain) if other == option}
        rest = pattern.sub(lambda match: "\0" * len(match[0]), rest)
    return said
