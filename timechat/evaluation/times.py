"""Finding times and intervals of time in a text; `parsing.py` turns them into answers.

What a time looks like is said once, in `_TIME`: `12`, `12.5`, `12,5 s`, `1,200.5`, `12.5 seconds`, `1:09`,
`00:00:18,500`, `2 minutes`, `1 h 2 min`, `1 min 20 s`, `the 12th second`. What counts something else is blanked out
before (`_OTHERS`): frame numbers, percentages. Other ordinals ("the 2nd step") and numbers inside words are no times.
Every pattern is bounded in length, so the time taken is linear in the length of the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CONTEXT = 40  # characters around a time that say what it means
_MAX_GAP = 60  # characters between the two times of an interval

_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-") | dict.fromkeys("～〜∼", "~"))

# Numbers. A comma is a decimal point before a unit ("12,5 s") and where neighbours have one ("3,2 - 8,1"); it groups
# thousands ("1,200"); in brackets it separates two numbers ("[5,9]").
_PLAIN = r"[0-9]{1,7}(?:\.[0-9]{1,20})?"
_NO_PAIR = r"(?<![0-9],)(?:(?<![\[(<{])|(?![0-9]+,[0-9.]+ ?[\])>}]))"
_COMMA = r"[0-9]{1,7},[0-9]{1,2}(?![0-9])(?!,[0-9])"
_THOUSANDS = r"[1-9][0-9]?,[0-9]{3}(?:\.[0-9]{1,20})?(?![0-9])(?!,[0-9])"
_COMMAS_ARE_POINTS = re.compile(
    rf"(?<![\w,.]){_COMMA} ?(?:seconds?|secs?|s)?(?: ?(?:-|to|until|à|bis|hasta) ?|,? and |[,;] ){_COMMA}",
    re.IGNORECASE,
)

# Units, also those of answers in another language.
_SECONDS = r"(?:second(?:e?s)?|secs?|s|sekunden|segundos|secondi)"
_MILLISECONDS = r"(?:milliseconds?|msecs?|ms)"
_MINUTES = r"(?:minutes?|mins?|m)"
_HOURS = r"(?:hours?|hrs?|h)"
_COMMA_AND_UNIT = rf"{_NO_PAIR}[0-9]{{1,7}},[0-9](?=[ -]?{_SECONDS}\b)"
_THEN = r"(?:,? (?:and )?|)"
_ORDINAL = r"[0-9]{1,5}(?:st|nd|rd|th)\b"
_MORE_ORDINALS = rf"(?:(?: ?[,-] ?| )(?:(?:and|to|until) )?(?:the )?{_ORDINAL}){{0,20}}"


def _time_pattern(number: str) -> re.Pattern[str]:
    return re.compile(
        r"(?<!\w)(?<![^a-zA-Z.)\]]\.)(?<!\A\.)(?<![0-9]:)"  # "end.5 s" has a time, ".5" and "2.5.1" do not
        r"(?:(?:(?P<hours>[0-9]{1,2}):)?(?P<minutes>[0-9]{1,3}):(?P<rest>[0-9]{2}(?:\.[0-9]{1,20}|,[0-9]{1,3}(?!,?[0-9]|:))?)"
        rf"|(?:(?P<h>{_PLAIN}) ?-?{_HOURS}{_THEN})?(?P<min>{_PLAIN}) ?-?{_MINUTES}{_THEN}(?P<sec>{_PLAIN}) ?{_SECONDS}"
        rf"|(?P<onlyh>{_PLAIN}) ?-?{_HOURS}(?:{_THEN}(?P<onlyhmin>{_PLAIN}) ?-?{_MINUTES})?"
        rf"|(?P<onlymin>{number}) ?(?:minutes?|mins?)"
        rf"|(?P<ms>{number}) ?{_MILLISECONDS}"
        rf"|(?P<number>{number})(?P<unit>[ -]{{0,2}}{_SECONDS}(?!\w))?)"
        r"(?![\w%]| %|\.[0-9]|:[0-9])"
        rf"|(?<!\w)(?P<ordinal>[0-9]{{1,5}})(?:st|nd|rd|th)(?={_MORE_ORDINALS} seconds?\b)(?: seconds?)?",
        re.IGNORECASE,
    )


_TIME = _time_pattern(rf"(?:{_NO_PAIR}{_THOUSANDS}|{_COMMA_AND_UNIT}|{_PLAIN})")
_TIME_WITH_COMMAS = _time_pattern(rf"(?:{_NO_PAIR}(?:{_THOUSANDS}|{_COMMA})|{_PLAIN})")
_RATIOS = {"minutes": (60, 1), "milliseconds": (1, 1000)}  # to seconds, of units that are said once for two numbers
_LIST_NUMBER = re.compile(r"(?:^|\n)[0-9]{1,3}[.)] ")

# What is no time.
_WHOLE = r"[0-9]{1,7}(?![0-9]|[.,:][0-9]| ?(?:seconds?|secs?|s)\b)"
_PERCENT = r" ?(?:%|percent(?:age)?\b|per cent\b)"
_SHARE = r"(?:0?\.[0-9]{1,6}|[01](?:\.0{1,6})?|[0-9]{1,2}/[0-9]{1,2})"
_SHARES = rf"{_SHARE}(?: ?(?:-|to|until|and|,) ?{_SHARE})?"
_OF_THE_VIDEO = r"of (?:the |its )?(?:[a-z0-9.-]{1,20} ){0,2}(?:video|clip|duration|length|footage|recording)\b"
_FRAME_NO = (
    r"(?<![a-zA-Z])frames?(?:[ _]?(?:numbers?|nos?\.?|ids?|index(?:es)?|indices|range|from|between))?"
    r"[\"']?[ :#_=]{0,3}[\[(\"']?"
)
_OTHERS = (
    rf"{_FRAME_NO}{_WHOLE}"
    rf"(?:(?:, {_WHOLE}(?! ?-)){{1,50}}(?:,? and {_WHOLE})?| ?(?:-|to|through|until|and|,) ?{_WHOLE})?",
    rf"(?<![\w.]){_WHOLE}(?: ?(?:-|to|through|until) ?{_WHOLE})?(?:st|nd|rd|th)? ?-?(?:frames?|fps)\b",
    rf"(?<=between ){_PLAIN}(?:{_PERCENT})? and {_PLAIN}{_PERCENT}",
    rf"(?<![\w.]){_PLAIN}(?:{_PERCENT})?(?: ?(?:-|to|until) ?{_PLAIN})?{_PERCENT}",
    rf"(?<![\w./]){_SHARES} {_OF_THE_VIDEO}",
    r"\b(?:normali[sz]ed|relative|fractions?|shares?)(?: [a-z]{1,12}){0,2}[ :=]{0,3}[\[(<]?"
    rf"{_SHARES}(?![\w.]|[.,:][0-9])",
)
_OTHER = re.compile("|".join(_OTHERS), re.IGNORECASE)

# What stands between the two times of an interval, brackets, quotes and fillers left out.
_TOKEN = re.compile(r"[a-zà]+|[0-9]|\.{2,3}|-{1,3}>?|[~→…,;/&|≈=\n至到]")
_FILLERS = {"the", "about", "around", "approximately", "roughly", "at", "second", "seconds", "sec", "secs", "s"} | {
    "secondes", "sekunden", "segundos", "secondi", "timestamp", "timestamps",
    "time", "times", "mark", "marks", "point", "points", "moment", "moments", "t", "=", "≈",
}  # fmt: skip
_RANGES = {"-", "--", "---", "->", "-->", "--->", "~", "→", "…", "..", "...", "to", "until", "till", "through", "thru"}
_RANGES |= {"up to", "and until", "- to", "至", "到", "à", "bis", "hasta"}
_AND = {"and", "&"}
_COMMAS = {",", ";"}
_NOTHING = {",", ";", "\n", "|"}
_SENTENCE_END = re.compile(r"[.!?]")
_EACH_IN_BRACKETS = re.compile(r"[>\])] ?[<\[(]")
_OPEN_BRACKET = re.compile(r"[\[(<] ?$")
_CLOSING_BRACKETS = {"]", ")", ">"}

# Intervals that a sentence tells. An underscore may follow: "start_time".
_START = r"(?<![a-z])(?:start(?:s|ed|ing)?|begin(?:s|ning)?|began|onset)(?![a-z])"
_END = r"(?<![a-z])(?:(?:end|finish|stop|conclud|terminat)(?:e?s?|ed|p?ing|ped))(?![a-z])"
_SAYS_START = re.compile(rf"{_START}|\bfrom\b", re.IGNORECASE)
_SAYS_END = re.compile(rf"{_END}|\b(?:until|to)\b", re.IGNORECASE)
_STARTS = re.compile(_START, re.IGNORECASE)  # for "ends at 10 s and begins at 4 s"
_ENDS = re.compile(_END, re.IGNORECASE)
_FILLER = r"(?:(?:the|about|around|approximately|roughly|at|second|seconds|timestamp|time|t ?=|=|~) ?){0,4}"
_UNIT_ENDS = r"(?:\.(?= ?[a-z-])|-?(?: second)? (?:mark|point))?"  # "5 sec. to 9 sec.", "the 5 second mark"
_IS_AT = (
    rf"(?:[ _]?(?:time|timestamp|second))?[\"'*]{{0,2}}(?: is)?(?: at| from| by| in| on|:|=)? ?[*\"']{{0,2}} ?{_FILLER}"
)
_STARTS_AT = re.compile(rf"{_START}{_IS_AT}$", re.IGNORECASE)
_AND_ENDS_AT = re.compile(
    rf"{_UNIT_ENDS}[*\"',;.]{{0,4}}[ \n]{{0,3}}[*-]{{0,2}} ?(?:and )?(?:it |the )?[\"']?{_END}{_IS_AT}", re.IGNORECASE
)

# Rows of a table with a column each for start and end, and perhaps one in front for the event or its number.
_CELL = r"[0-9][0-9:.]{0,12} ?s?\w{0,6} ?\|"
_ROW = re.compile(
    rf"^\|(?: ?[0-9]{{1,3}} ?\|)?(?P<words>[^|\n0-9][^|\n]{{0,200}}\|)? ?(?P<start>{_CELL}) ?(?={_CELL})", re.MULTILINE
)

_SINGLE_LEAD = re.compile(
    r"(?:^|\b(?:at|in|on|around|about|near|is|second|seconds|timestamp|time|after|from)[: ]) ?$", re.IGNORECASE
)
_THINGS = re.compile(r" (?!(?:and|as|during|for|in|is|of|on|or|then|when|where|while|with)\b)[a-z]{2}", re.IGNORECASE)


class Time(NamedTuple):
    """A number that can be a time, and where it stands in the cleaned text."""

    seconds: float
    start: int
    end: int
    unit: str  # "clock", "hours", "minutes", "milliseconds", "seconds" or "" for a bare number
    text: str


class Mark(NamedTuple):
    """One interval in the text, `start_s` <= `end_s` in seconds; `single` when only one time was given."""

    start_s: float
    end_s: float
    start: int
    end: int
    first: Time
    last: Time
    single: bool


def clean(text: str) -> str:
    """Runs of white space become one newline, two spaces or one space; dashes of all kinds become '-'."""
    shorter = re.sub(
        r"\s{2,}|[^\S ]", lambda m: "\n" if "\n" in m[0] or "\r" in m[0] else " " * min(len(m[0]), 2), text
    )
    return shorter.strip().translate(_DASHES)


def blank_others(cleaned: str) -> str:
    """The text with blanks, as many, in place of frame numbers and percentages."""
    return _OTHER.sub(lambda match: " " * len(match[0]), cleaned)


def has_words(text: str) -> bool:
    """Whether two letters stand side by side."""
    return re.search(r"[^\W\d_]{2}", text) is not None


def find_times(cleaned: str) -> list[Time]:
    """Every number that can be a time, in order; "1-2 minutes" gives both numbers in minutes."""
    times: list[Time] = []
    pattern = _TIME_WITH_COMMAS if _COMMAS_ARE_POINTS.search(cleaned) else _TIME
    for match in pattern.finditer(cleaned):
        seconds, unit = _seconds_of(match)
        if not unit and _LIST_NUMBER.match(cleaned, max(0, match.start() - 1)):
            continue
        if unit in _RATIOS and times and not times[-1].unit:
            gap = cleaned[times[-1].end : match.start()]
            if len(gap) <= _MAX_GAP and link_of(gap) in _RANGES:
                many, parts = _RATIOS[unit]
                times[-1] = times[-1]._replace(seconds=times[-1].seconds * many / parts, unit=unit)
        times.append(Time(seconds, match.start(), match.end(), unit, match[0]))
    return times


def _seconds_of(match: re.Match[str]) -> tuple[float, str]:
    if match["rest"]:
        rest = float(match["rest"].replace(",", "."))
        return 3600 * int(match["hours"] or 0) + 60 * int(match["minutes"]) + rest, "clock"
    if match["min"]:
        return 3600 * float(match["h"] or 0) + 60 * float(match["min"]) + float(match["sec"]), "clock"
    if match["onlyh"]:
        return 3600 * float(match["onlyh"]) + 60 * float(match["onlyhmin"] or 0), "hours"
    if match["onlymin"]:
        return 60 * _number(match["onlymin"]), "minutes"
    if match["ms"]:
        return _number(match["ms"]) / 1000, "milliseconds"
    unit = "seconds" if match["unit"] or match["ordinal"] else ""
    return _number(match["number"] or match["ordinal"]), unit


def _number(text: str) -> float:
    """A comma before three digits groups thousands, any other is a decimal point."""
    whole, comma, rest = text.partition(",")
    return float(whole + rest if len(rest) >= 3 else f"{whole}{comma and '.'}{rest}")


def find_marks(cleaned: str, times: list[Time], spoken: bool) -> list[Mark]:
    """Join neighbouring times that the words between them make an interval, from left to right; others stay single.

    `spoken` joins over any words that fit ("starts at 5 s, and I think that it ends at 9 s"); without it, for
    captions, which are full of such words, the two times must say nothing else ("starting at 5 s and ending at 9 s").
    """
    marks: list[Mark] = []
    index = 0
    while index < len(times):
        left = times[index]
        right = times[index + 1] if index + 1 < len(times) else None
        joined = right is not None and _is_range(cleaned, left, right, times[index - 1].end if index else 0, spoken)
        last = right if right is not None and joined else left
        low, high = min(left.seconds, last.seconds), max(left.seconds, last.seconds)
        marks.append(Mark(low, high, left.start, last.end, left, last, not joined))
        index += 2 if joined else 1
    return marks


def _is_range(cleaned: str, left: Time, right: Time, previous_end: int, spoken: bool) -> bool:
    gap = cleaned[left.end : right.start]
    if len(gap) > _MAX_GAP or not gap.strip():
        return False
    link = link_of(gap)
    if link in _RANGES:
        return True
    before = cleaned[max(previous_end, left.start - _MAX_GAP) : left.start]
    if link in _AND:
        return _words(before)[-1:] in (["between"], ["from"])
    opened, closed = bool(_OPEN_BRACKET.search(before)), cleaned[right.end : right.end + 2].lstrip()[:1]
    if link in _COMMAS:
        return opened and closed in _CLOSING_BRACKETS
    if _EACH_IN_BRACKETS.fullmatch(gap) and opened and closed in _CLOSING_BRACKETS:
        return spoken or "<" in gap
    if _AND_ENDS_AT.fullmatch(gap) and (spoken or _STARTS_AT.search(before)):
        return True
    return spoken and _tells_a_range(before, gap)


def link_of(gap: str) -> str:
    """The words and signs between two times, without fillers: "-" of " seconds - about "."""
    words = _words(gap)
    return " ".join([word for word in words if word != "~"] or words)


def _words(text: str) -> list[str]:
    return [word for word in _TOKEN.findall(text.lower()) if word not in _FILLERS]


def _tells_a_range(before: str, gap: str) -> bool:
    if _SAYS_END.search(gap) and not _SAYS_START.search(gap):
        return bool(_SAYS_START.search(before))
    return bool(
        _STARTS.search(gap) and not _SAYS_END.search(gap) and _ENDS.search(before) and not _SAYS_START.search(before)
    )


def joins_rows(cleaned: str) -> str:
    """The text with a range in place of two columns of a table for start and end: "| 3.0 - 8.0 |"."""
    return _ROW.sub(lambda row: f"| {row['words'] or ''} {row['start'][:-1]} - ", cleaned)


def says_nothing(gap: str) -> bool:
    """Whether two times have nothing but commas, brackets and tags between them."""
    return len(gap) <= _MAX_GAP and not set(_words(gap)) - _NOTHING and not _SENTENCE_END.search(gap)


def reads_as_time(cleaned: str, time: Time) -> bool:
    """Whether a bare number among words is meant as a time: a decimal, or behind "at", "in", ..."""
    before = cleaned[max(0, time.start - CONTEXT) : time.start]
    after = cleaned[time.end : time.end + 2].lstrip(" ")
    closed = after[:1] in {"", ".", ",", ";", ")", "]", "\n"}
    return closed and ("." in time.text or bool(_SINGLE_LEAD.search(before)))


def shares_unit(cleaned: str, left: Time, right: Time) -> bool:
    """Whether `left`, a bare number, has the unit of `right`: "at 12 and 19 seconds"."""
    gap = cleaned[left.end : right.start]
    return bool(right.unit) and len(gap) <= _MAX_GAP and link_of(gap) in _AND | _COMMAS


def counts_things(cleaned: str, mark: Mark) -> bool:
    """Whether an interval without a unit counts something other than seconds ("2 to 3 people")."""
    bare = not (mark.first.unit or mark.last.unit) and "." not in mark.first.text + mark.last.text
    return bare and bool(_THINGS.match(cleaned[mark.end : mark.end + CONTEXT]))
