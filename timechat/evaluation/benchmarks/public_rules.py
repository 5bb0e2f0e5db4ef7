"""Questions that a public script scores by a rule of its own: scored by that rule and by this project's parser.

Published numbers are the rule's. The parser reads more forms of answers and takes none that rejects or lists options;
so the two differ, and a report has both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from timechat.errors import ParseFailure
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.contract import Example
from timechat.evaluation.benchmarks.question_answering import QuestionAnswering


class Reading(NamedTuple):
    """What an answer names, as the index of an option; None where nothing.

    Attributes:
        counted: what the main scores count.
        parser: what the parser reads.
        rule: what the public rule reads.
    """

    counted: int | None
    parser: int | None
    rule: int | None


class PubliclyScored(QuestionAnswering):
    """Multiple choice with a public rule beside the parser.

    Attributes:
        rule_counts: whether the main scores are the rule's, and the parser's only where the rule reads nothing;
            otherwise they are the parser's.
        compared: the scores that are given by other readings too.
        other_readings: how these are named, behind the name of the score ("accuracy/strict").
    """

    rule_counts: ClassVar[bool] = False
    compared: ClassVar[tuple[str, ...]] = ("accuracy",)
    other_readings: ClassVar[Mapping[str, Callable[[Reading], int | None]]] = {"official": lambda reading: reading.rule}

    @abstractmethod
    def read_by_rule(self, answer: str, row: Row) -> int | None:
        """Index of the option that the public script takes an answer for; None where it takes it for none."""

    def parse(self, answer: str, row: Row) -> Any:
        """Both readings of an answer.

        Raises:
            ParseFailure: what counts finds nothing; what the rule reads goes with it.
        """
        rule = self.read_by_rule(answer, row)
        try:
            parser = self.parse_strictly(answer, row)
        except ParseFailure as failure:
            if rule is not None and self.rule_counts:
                return Reading(rule, None, rule)
            failure.reading = None if rule is None else Reading(None, None, rule)
            raise
        return Reading(rule if self.rule_counts and rule is not None else parser, parser, rule)

    def parse_strictly(self, answer: str, row: Row) -> int:
        """Index of the option that the answer names. Raises ParseFailure."""
        return super().parse(answer, row)

    def take(self, given: Any, row: Row) -> Any:
        """An option's number is the same by every rule."""
        index = super().take(given, row)
        return Reading(index, index, index)

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """The main scores, and those that are compared by the other readings."""
        scores, predictions = super().evaluate(rows, _named(parsed, lambda reading: reading.counted), answered)
        for name, of_reading in self.other_readings.items():
            others, _ = super().evaluate(rows, _named(parsed, of_reading), answered)
            scores |= {f"{score}/{name}": others[score] for score in self.compared if score in others}
        return scores, predictions

    def example(self, row: Row, parsed: Any | None) -> Example:
        """As the main scores count it."""
        return super().example(row, parsed.counted if isinstance(parsed, Reading) else parsed)


def _named(parsed: Mapping[str, Any], of_reading: Callable[[Reading], int | None]) -> dict[str, Any]:
    """Id -> option; what has no readings (a caption) stays."""
    said = {key: of_reading(value) if isinstance(value, Reading) else value for key, value in parsed.items()}
    return {key: value for key, value in said.items() if value is not None}
