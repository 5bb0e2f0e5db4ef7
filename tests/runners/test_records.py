"""What log.jsonl says about a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.run_logs import train, write_log

from timechat.errors import PredictionError
from timechat.runners.records import has_ended, read_training_records


def test_a_resumed_run_replaces_the_records_of_its_first_attempt(tmp_path: Path) -> None:
    records = [
        {"event": "start", "epoch": 0, "step": 0},
        train(0, 1, 2.0),
        train(1, 2, 1.5),
        {"event": "start", "epoch": 1, "step": 1},
    ]
    run = write_log(tmp_path, [*records, train(1, 2, 1.0), {"event": "checkpoint", "epoch": 1, "path": "x"}])
    assert [record["loss"] for record in read_training_records(run)] == [2.0, 1.0]


@pytest.mark.parametrize(("text", "message"), [("", "no training record"), ("{broken", "log.jsonl:1")])
def test_a_log_without_records_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(PredictionError, match=message):
        read_training_records(tmp_path)


@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        (['{"event": "train", "step": 3}', '{"event": "end", "step": 3}'], True),
        (['{"event": "end", "step": 3}', '{"event": "start", "step": 3}'], False),
        (['{"event": "end", "st'], False),
        (["3"], False),
        ([], False),
    ],
)
def test_whether_a_run_has_ended(tmp_path: Path, lines: list[str], ended: bool) -> None:
    assert not has_ended(tmp_path)
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert has_ended(tmp_path) == ended
