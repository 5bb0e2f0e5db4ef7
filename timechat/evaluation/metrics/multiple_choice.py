"""Multiple choice: accuracy overall and per category. `choices.py` reads which option an answer names.

Nothing is guessed: an answer that names no option, or more than one, is a `ParseFailure` and counts as wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from timechat.errors import AnnotationError
from timechat.evaluation.metrics.choices import LETTERS, parse_choice, parse_yes_no
from timechat.evaluation.metrics.intervals import check_known_ids

__all__ = ["LETTERS", "parse_choice", "parse_yes_no", "score_choices"]


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
