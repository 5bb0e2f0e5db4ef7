"""Words of messages."""

from __future__ import annotations

import pytest

from timechat.wording import counted


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((1, "video"), "1 video"),
        ((0, "video"), "0 videos"),
        ((12_000, "video"), "12,000 videos"),
        ((1, "entry needs", "entries need"), "1 entry needs"),
        ((2, "entry needs", "entries need"), "2 entries need"),
    ],
)
def test_one_is_not_many(asked: tuple[int, str], said: str) -> None:
    assert counted(*asked) == said
