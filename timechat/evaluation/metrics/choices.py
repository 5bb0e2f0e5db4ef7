"""Which option an answer names, and whether it says yes: by symbol or by text, never by guessing.

An answer that begins with an option, or concludes with one, and explains it is that option, whatever else the
explanation mentions; what it rejects ("not A but C", "there is no bow", "this rules out B and D") is not taken.
Every pattern is bounded in length, and an answer is read up to a bound.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from timechat.errors import ParseFailure
from timechat.evaluation.wrappings import after_final_answer, json_objects, unwrap

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_ANSWER = 4000  # characters; an answer that names no option by then never will

_MARKUP = re.compile(r"\*{1,3}|_{2,3}|`{1,3}|</?(?:[a-z]|\w{2,12})>|\$")  # "<b>" is bold, "<B>" an option
_ROLE = re.compile(r"^\s?(?:assistant|ai|bot|model|gpt)\s?:\s?", re.IGNORECASE)
_BRACKETS = str.maketrans("【】«»<>{}", "[]()()()")
_EDGE = " \t\n.,;:!?\"'“”‘’"
_JSON_KEYS = ("answer", "option", "choice", "letter", "prediction", "response")

_NOUN = r"(?:(?:options?|choices?|answers?|captions?|sentences?|letters?|descriptions?)\b|答案|选项)"
_I_SAY = (
    r"(?:chose|choose|pick(?:ed)?|select(?:ed)?|with|it is|it['’]s|(?:must|has to) be|probably|definitely|but|"
    r"but rather|rather|leaving(?: only)?|(?:so|hence|thus|therefore),?)"
)
_IS = r"(?:\s?(?:is|are|was|would be|should be|must be|是|:|=)){0,2}"
_RIGHT = (
    r"\s(?:(?:is|seems) (?:the )?(?:most |only )?(?:correct|right|best|better|likely|possible|answer|one)|"
    r"fits|remains)\b"
)
# What may follow a bare symbol that is meant as an option: no word, because "A man walks" begins with an article.
_END = (
    r"(?=$|\n|[^\w\s'’-](?!\d)|['’](?!\w)|\s[^\w\s(\[]|\s\(not\b|"
    rf"\s(?:or|and|but|because|since|as (?:it|the)|instead of|rather than)\b|{_RIGHT})"
)
_QUOTE = r"[\"'“‘]?"
# How a symbol is named. {any}: a symbol in either case, {one}: in capitals, {here}: one of those that there are.
_CLEAR_FORMS = (
    r"(?<!\w)[(\[]\s?{quote}({any})[\"'”’]?\s?(?=[)\].,:]|$)",
    r"(?:^|\n)\s?[\"'“‘-]{{0,2}}\s?({any})(?:[.):](?![\w.])|(?=[\"'”’]?\s?(?:\n|$)))",
    r"(?:^|\n)\s?{noun}\s{quote}({here})(?=\s?(?:$|\n|[.):,]))",
    r"(?:^|\b{noun}(?: to [^.\n]{{1,80}}?)?{be}\s?(?:{noun}\s)?|\b{i_say}\s(?:{noun}\s)?){quote}({one}){end}",
    r"\b(?:is|are|be)\s(?:{noun}\s){quote}({here})\b",
    r"(?<!\w)({one})\)?{right}",
)
_OWN_TEXT = r"(?<!\w)({one})[.):,]\s?{quote}"  # counts where the option's own text follows
_WEAK_FORM = r"\b{noun}\s{quote}({here})\b(?!['’-])"
_VERB = r"\s(?:is|are|was|were|can|cannot|could|does|do|did|would|seems?)\b"
_ANOTHER = (  # "A or B", "A, B and C"
    r"[)\]]?\s?(?:,|/|&|,?\s?\b(?:or|and)\b)\s?(?:(?:or|and)\s)?(?:{noun}\s)?[(\[]?({one})(?:\)|{end}|(?={verb}))"
)

# What rejects an option: in front of it in its clause, or right behind it.
_REJECTS = re.compile(
    r"\b(?:not(?! only)|never|neither|nor|cannot|no(?! doubt|,)|nobody|nothing|without|unlike|than|instead of|"
    r"rul(?:es?|ed|ing) out|exclud(?:es?|ed|ing)|eliminat(?:es?|ed|ing)|reject(?:s|ed|ing)?|dismiss(?:es|ed)?|"
    r"(?:incorrect|wrong) (?:options?|choices?|answers?|ones?))\b|n['’]t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[.!?;\n]\s?|\b(?:but|however|so|therefore|hence|thus)\b|, (?:only|just|instead|rather)\b|"
    r", (?:(?:it|he|she|they|this|the \w{1,20}) (?:is|are)|(?:it|he|she)['’]s|(?:choose|pick|select))\b",
    re.IGNORECASE,
)
_REJECTED = re.compile(
    r"[)\]]?:?\s?[✗✘❌]|"
    r"[)\]\"”'’]?,?[\"”'’]?(?: or [\w ]{1,30}?)?"
    r"(?:\s(?:is|are|was|were|does|do|did|can|could|would|seems?)(?:n['’]t| not)|\scannot|"
    r"\s(?:is|are|was|were|seems?) (?:also |both )?(?:incorrect|wrong|inaccurate|false|unlikely|less|the opposite)|"
    r"\s(?:is|are|(?:can|could) be) (?:(?:ruled )?out|excluded|eliminated|dismissed|rejected))\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n")
_CONCLUDES = re.compile(
    r"^(?:so|thus|hence|therefore)\b|\b(?:best|correct|right|final|most (?:likely|suitable|appropriate)) "
    r"(?:option|choice|answer|caption|sentence|description|match)\b|\banswer is\b",
    re.IGNORECASE,
)
_WINDOW = 200  # characters in front of an option that are searched for what rejects it

_YES_OR_NO = re.compile(r"\b(?:yes|no)\s?(?:/|,?\s?\b(?:or|and)\b)\s?(?:yes|no)\b", re.IGNORECASE)
# "no" in front of a noun ("no dog here") denies the noun, and answers nothing.
_STATED = r"(yes\b|no\b(?!\s(?!(?:it|he|she|they|there|this|that|these|those|the|i|we|you|because|since|as)\b)\w))"
_YES_NO = re.compile(
    rf"(?:^(?:[-•]\s)?|[.!?\n]\s?|\banswer(?: is)?:?\s|\b(?:say|opinion),?\s)[(\[\"'“]{{0,2}}{_STATED}", re.IGNORECASE
)
_FIRST_YES_NO = re.compile(rf"[(\[\"'“‘]{{0,2}}{_STATED}(?![\s.,]{{1,3}}{_STATED})", re.IGNORECASE)


class _Mention(NamedTuple):
    """A symbol in an answer: where it ends, whether it is rejected there, whether it is clearly the answer."""

    symbol: str
    end: int
    rejected: bool
    clear: bool


def parse_choice(answer: str, options: Sequence[str], symbols: str = LETTERS) -> int:
    """Which option an answer names: by its symbol, or by its text said word for word.

    A symbol is clear as `(A)`, `[A]`, `A.`, `A)`, `A:` or `Caption A` at the start of a line, alone, in
    `answer is A`, `A is correct`, and in front of its own text; `option A` counts where no symbol is clear. An "A" in
    front of other words is an article. Where no symbol is named, the first sentence, or one that concludes, or else
    the whole answer has to say the text of exactly one option: not inside the text of a longer one ("red" in "dark
    red"). A "yes" or "no" has to be the first word, and an option of one letter the whole answer.

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
    mentions = [mention for mention in _mentions(text, symbols, plain) if not mention.rejected]
    named = [mention for mention in mentions if mention.clear] or mentions
    meant = {mention.symbol for mention in named}
    if len(meant) == 1 and (meant <= set(symbols) or not whole):
        index = symbols.find(meant.pop())
        if index < 0:
            raise ParseFailure(answer, "names an option that is not there")
        if _contradicts(text, [mention.end for mention in named], index, plain, whole):
            raise ParseFailure(answer, "names one option by its symbol and another by its text")
        return index
    said = whole or (_said(text, plain) if not meant else set())
    if len(said) == 1:
        return said.pop()
    raise ParseFailure(answer, "names several options" if meant or said else "names no option")


def parse_yes_no(answer: str) -> bool:
    """Whether an answer says yes: by its first word, whatever follows, else by the first word of a sentence.

    Raises:
        ParseFailure: it says neither, or both at once.
    """
    text = _clean(answer)
    first = _FIRST_YES_NO.match(text)
    if first and not _YES_OR_NO.match(text):
        return first[1].lower() == "yes"
    said = {match[1].lower() for match in _YES_NO.finditer(text)}
    if len(said) != 1 or _YES_OR_NO.search(text):
        both = said or _YES_OR_NO.search(text)
        raise ParseFailure(answer, "says both yes and no" if both else "says neither yes nor no")
    return said == {"yes"}


def _clean(answer: str) -> str:
    """What is inside of tags and JSON, without markup; runs of white space become one newline or one space."""
    text = after_final_answer(unwrap(answer[:MAX_ANSWER]))
    values = [found.get(key) for found in json_objects(text)[:1] for key in _JSON_KEYS]
    text = next((str(value) for value in values if isinstance(value, str | int)), text)
    text = _MARKUP.sub("", text).translate(_BRACKETS)
    return _ROLE.sub("", re.sub(r"\s+", lambda m: "\n" if "\n" in m[0] else " ", text).strip())


# Symbols --------------------------------------------------------------------------------------------------------------


class _Patterns(NamedTuple):
    clear: list[re.Pattern[str]]
    own_text: re.Pattern[str]
    weak: re.Pattern[str]
    another: re.Pattern[str]  # how another symbol follows one


@functools.cache
def _patterns(symbols: str) -> _Patterns:
    letters = symbols[0].isalpha()
    parts = {"one": "[A-Z]" if letters else "[0-9]", "any": "[A-Za-z]" if letters else "[0-9]", "here": f"[{symbols}]"}
    parts |= {"noun": f"(?i:{_NOUN})", "be": f"(?i:{_IS})", "i_say": f"(?i:{_I_SAY})"}
    parts |= {"end": _END, "right": _RIGHT, "quote": _QUOTE, "verb": _VERB}
    clear = [re.compile(form.format(**parts)) for form in _CLEAR_FORMS]
    return _Patterns(clear, *(re.compile(form.format(**parts)) for form in (_OWN_TEXT, _WEAK_FORM, _ANOTHER)))


def _mentions(text: str, symbols: str, plain: Sequence[str]) -> Iterator[_Mention]:
    """Every symbol that is named, and those that follow it in a list."""
    patterns = _patterns(symbols)
    texts = dict(zip(symbols, plain, strict=False))
    for form in (*patterns.clear, patterns.weak):
        for first in form.finditer(text):
            yield from _chain(text, first, patterns, form is not patterns.weak, texts)
    for match in patterns.own_text.finditer(text):
        index = symbols.find(match[1].upper())
        if index >= 0 and plain[index] and _plain(text[match.end() :]).startswith(plain[index]):
            after_noun = patterns.weak.search(text, max(0, match.start() - 20), match.end())
            rejected = _is_rejected(text, match.start(1), _behind(text, match.end(1), plain[index]))
            yield _Mention(match[1].upper(), match.end(1), rejected, after_noun is None)


def _chain(
    text: str, first: re.Match[str], patterns: _Patterns, clear: bool, texts: Mapping[str, str]
) -> Iterator[_Mention]:
    """A symbol, and the ones that are listed behind it; all are rejected where the first or the last one is."""
    matches = [first]
    while len(matches) < len(LETTERS) and (following := patterns.another.match(text, matches[-1].end(1))):
        matches.append(following)
    last = matches[-1]
    end = _behind(text, last.end(1), texts.get(last[1].upper(), ""))
    rejected = _is_rejected(text, first.start(1), end)
    for match in matches:
        yield _Mention(match[1].upper(), match.end(1), rejected, clear)


def _behind(text: str, end: int, own_text: str) -> int:
    """Where a symbol ends, with its own text if that stands behind it, which may hold a "not" of its own."""
    start = end + len(text[end:]) - len(text[end:].lstrip(" ).]:,\"'“‘"))
    said = " ".join(text[start : start + len(own_text)].casefold().split())
    return start + len(own_text) if own_text and said == own_text else end


def _contradicts(text: str, ends: Sequence[int], index: int, plain: Sequence[str], whole: set[int]) -> bool:
    """Whether the text is another option than its symbol, or stands behind the symbol."""
    behind = {_plain(text[end:].split("\n")[0].lstrip(" )].:")) for end in ends}
    others = {option for option in plain if option and option != plain[index]}
    return bool(behind & others or (whole and index not in whole))


def _is_rejected(text: str, start: int, end: int) -> bool:
    before = _CLAUSE.split(text[max(0, start - _WINDOW) : start])[-1]
    return _REJECTS.search(before) is not None or _REJECTED.match(text, end) is not None


# Texts ----------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """For comparing: lower case, single spaces, without punctuation around it."""
    return " ".join(text.casefold().split()).strip(_EDGE)


def _said(text: str, plain: Sequence[str]) -> set[int]:
    """Options whose text is said: in the first sentence, else where the answer concludes, else anywhere."""
    sentences = _SENTENCE.split(text)
    told = [_said_in(sentence, plain, at_start=number == 0) for number, sentence in enumerate(sentences)]
    concluded = [
        found for found, sentence in zip(told, sentences, strict=True) if found and _CONCLUDES.search(sentence)
    ]
    clear = set().union(told[0], *concluded)
    return clear or set().union(*told)


def _said_in(sentence: str, plain: Sequence[str], at_start: bool) -> set[int]:
    """Options whose text occurs in a sentence and is not rejected; longer texts first, and what they cover is taken."""
    rest = " ".join(sentence.casefold().split())
    said: set[int] = set()
    for option in sorted(set(plain), key=lambda text: (-len(text), text)):
        if not option or (len(option) == 1 and option.isalpha()):
            continue
        pattern = re.compile(rf"(?<!\w)(?<!\d[.:]){re.escape(option)}(?!\w|[.:]\d)")
        places = [match.span() for match in pattern.finditer(rest)]
        if option in ("yes", "no"):
            stated = at_start and _FIRST_YES_NO.match(rest.lstrip(_EDGE))
            places = [place for place in places if stated and not rest[: place[0]].strip(_EDGE)]
        if any(not _is_rejected(rest, *place) for place in places):
            said |= {index for index, other in enumerate(plain) if other == option}
        rest = pattern.sub(lambda match: "\0" * len(match[0]), rest)
    return said
