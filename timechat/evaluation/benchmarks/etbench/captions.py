"""How E.T. Bench scores dense captions (DVC, SLC), of the samples of one source; fractions.

- A prediction and a true event match at 0.1, 0.3, 0.5, 0.7 if their IoU is greater; 1e-8 in its denominator decides
  ties.
- Samples whose answer holds no event take no part in precision, recall and captions; precision and recall are then
  scaled by the share of the others before F1 is taken, the captions' scores are not. "Sim/expected" is.
- Captions of a sample at a threshold are compared in pairs: each prediction with every true event that it matches, or
  with a random word where it matches none. To an encoder random words are not quite unlike a caption, so the similarity
  of a model that matches nothing is 0.05 to 0.15, not 0. Here the sample's id draws them: scores stay the same.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.etbench.answers import Interval
from timechat.evaluation.benchmarks.etbench.scores import THRESHOLDS, f1
from timechat.evaluation.metrics.captions import CaptionPair, Meteor, bleu, cider, rouge_l, tokenize
from timechat.evaluation.metrics.similarity import SentenceSimilarity

MAX_EVENTS = 1000  # of an answer that count
SHORTEST_WORD, LONGEST_WORD = 10, 20

Said = Mapping[str, Sequence[Mapping[str, Any]]]  # id -> events {"timestamp": [start, end], "caption"}


def event_scores(rows: Sequence[Row], said: Said) -> dict[str, float]:
    """F1 of intervals at each threshold, and its mean; captions play no part."""
    precision, recall = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
    for row in rows:
        if row["id"] in said:
            matched = _matched(row, said[row["id"]])
            precision += matched.any(axis=2).mean(axis=1)
            recall += matched.any(axis=1).mean(axis=1)
    # The mean over the samples that were parsed, scaled by their share, is that over all.
    values = [f1(p, r) for p, r in zip(precision / len(rows), recall / len(rows), strict=True)]
    scores = {f"F1@{threshold}": value for threshold, value in zip(THRESHOLDS, values, strict=True)}
    return scores | {"F1": sum(values) / len(values)}


def caption_scores(rows: Sequence[Row], said: Said, meteor: Meteor, similarity: SentenceSimilarity) -> dict[str, float]:
    """Scores of captions: means over thresholds and over the samples that were parsed.

    Args:
        rows: the samples of one source.
        said: their events, where there are any.
        meteor: a METEOR process.
        similarity: compares sentences; without its encoder there is no "Sim".

    Returns:
        "METEOR", "ROUGE_L", "CIDEr", "BLEU_4" and "Sim"; "Sim/expected" is over all samples, the missing ones as 0.
    """
    corpora = _corpora([(row, said[row["id"]]) for row in rows if row["id"] in said])
    scores = {
        "METEOR": meteor.corpus_scores(corpora),
        "ROUGE_L": [rouge_l(pairs) for pairs in corpora],
        "CIDEr": [cider(pairs) for pairs in corpora],
        "BLEU_4": [bleu(pairs) for pairs in corpora],
    }
    if not similarity.why_missing:
        cosines = iter(similarity.of_pairs([pair for pairs in corpora for pair in pairs]))
        scores["Sim"] = [float(np.mean([next(cosines) for _ in pairs])) for pairs in corpora]
    means = {name: float(np.mean(values)) if values else 0.0 for name, values in scores.items()}
    share = len(corpora) / len(THRESHOLDS) / len(rows)
    return means | ({"Sim/expected": means["Sim"] * share} if "Sim" in means else {})


def overlap(predicted: Sequence[Interval], true: Sequence[Interval]) -> NDArray[Any]:
    """IoU with 1e-8 in the denominator, float64 [N, M]."""
    a, b = np.asarray(predicted, dtype=np.float64)[:, None], np.asarray(true, dtype=np.float64)[None]
    both = np.maximum(0.0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    lengths = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0])
    return both / (np.minimum(hull, lengths) + 1e-8)


def _matched(row: Row, events: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Whether event i matches true event j at threshold k: bool [k, i, j]."""
    iou = overlap([event["timestamp"] for event in events[:MAX_EVENTS]], row["intervals"])
    return iou > np.asarray(THRESHOLDS)[:, None, None]


def _corpora(answered: Sequence[tuple[Row, Sequence[Mapping[str, Any]]]]) -> list[list[CaptionPair]]:
    """For each sample and threshold the pairs of captions, tokenized; one call of the tokenizer for all."""
    texts = sorted({_ascii(text) for row, events in answered for text in _captions(row, events)})
    tokens = dict(zip(texts, tokenize(texts), strict=True))
    corpora = []
    for row, events in answered:
        true = [tokens[_ascii(caption)] for caption in row["captions"]]
        predicted = [tokens[_ascii(event["caption"])] for event in events[:MAX_EVENTS]]
        words = random.Random(row["id"])
        for matched in _matched(row, events):
            pairs = []
            for caption, matches in zip(predicted, matched, strict=True):
                pairs += [(caption, true[j]) for j in np.flatnonzero(matches)] or [(caption, _random_word(words))]
            corpora.append(pairs)
    return corpora


def _captions(row: Row, events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [*row["captions"], *(event["caption"] for event in events[:MAX_EVENTS])]


def _ascii(text: str) -> str:
    """Other characters become spaces, as in the script."""
    return "".join(character if ord(character) < 128 else " " for character in text)


def _random_word(words: random.Random) -> str:
    return "".join(words.choices(string.ascii_lowercase, k=words.randint(SHORTEST_WORD, LONGEST_WORD)))
