"""A METEOR that needs no Java."""

from __future__ import annotations

from typing import Any

import pytest

from timechat.evaluation.benchmarks import dense_captioning as dense_benchmarks
from timechat.evaluation.benchmarks.etbench import benchmark as etbench_benchmark
from timechat.evaluation.benchmarks.etbench import captions as etbench_captions
from timechat.evaluation.metrics import dense_captioning


class FakeMeteor:
    """METEOR is 1 for equal captions, else 0; the real one takes 10 seconds to start and has separate tests."""

    def __enter__(self) -> FakeMeteor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self) -> None:
        pass

    def segment_scores(self, pairs: Any) -> dict[tuple[str, str], float]:
        return {pair: float(pair[0] == pair[1]) for pair in pairs}

    def corpus_scores(self, corpora: Any) -> list[float]:
        return [sum(self.segment_scores(pairs).values()) / len(pairs) for pairs in corpora]


def without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every benchmark with captions gets a FakeMeteor, and words as they are but for the full stop at the end."""
    for module in (dense_benchmarks, etbench_benchmark):
        monkeypatch.setattr(module, "Meteor", FakeMeteor)
    for module in (dense_captioning, etbench_captions):
        monkeypatch.setattr(module, "tokenize", lambda captions: [caption.rstrip(".") for caption in captions])
