"""Which worker makes no progress, and on which sample."""

from __future__ import annotations

import contextlib

import pytest
import torch

from timechat.datasets import watching
from timechat.datasets.sampler import SampleRef
from timechat.datasets.watching import Reading, ReadingBoard


@pytest.fixture
def board() -> ReadingBoard:
    return ReadingBoard(2)


def begin(board: ReadingBoard, worker: int, index: int) -> None:
    """As the worker does when it begins to read a sample."""
    board._rows[worker] = torch.tensor([1000 + worker, 7, index, board._rows[worker, 3] + 1])


def end(board: ReadingBoard, worker: int) -> None:
    """As the worker does when it has read it."""
    board._rows[worker, 3] += 1


def test_the_one_that_shows_the_same_for_so_long_is_named(board: ReadingBoard) -> None:
    begin(board, 0, 3)
    begin(board, 1, 4)
    board.forget_time()
    assert board.wait(0.5, 1.0) == ([], False)
    end(board, 0)
    begin(board, 0, 3)  # again, the same sample
    assert board.wait(0.5, 1.0) == ([Reading(1001, SampleRef(7, 4))], False)
    assert board.readings() == [Reading(1000, SampleRef(7, 3)), Reading(1001, SampleRef(7, 4))]


def test_a_worker_that_reads_nothing_does_not_hang_but_all_of_them_do_nothing(board: ReadingBoard) -> None:
    begin(board, 0, 3)
    end(board, 0)
    board.forget_time()
    assert board.wait(0.5, 1.0) == ([], False)
    assert board.wait(0.5, 1.0) == ([], True)


def test_time_begins_anew_when_data_came(board: ReadingBoard) -> None:
    """Only what the run waited counts: a worker may take its time while there is something to train on."""
    begin(board, 0, 3)
    board.forget_time()
    for _ in range(10):
        assert board.wait(0.5, 1.0) == ([], False)
        board.forget_time()


def test_workers_note_what_they_read(board: ReadingBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it fails; a process that is not a worker notes nothing."""
    with board.note(SampleRef(0, 5)):
        assert board.readings() == []
    worker = type("Worker", (), {"id": 1})
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: worker)
    monkeypatch.setattr(watching.os, "getpid", lambda: 77)
    with contextlib.suppress(OSError), board.note(SampleRef(0, 5)):
        assert board.readings() == [Reading(77, SampleRef(0, 5))]
        raise OSError("gone")
    assert board.readings() == []
