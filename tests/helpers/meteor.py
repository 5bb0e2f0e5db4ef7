"""A METEOR that needs no Java."""

from __future__ import annotations

from typing import Any


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
