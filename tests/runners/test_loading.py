"""Workers that hang, crash or are killed: found, named, and never in the middle of something else."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from timechat.datasets import RankBatches, SampleStream, StreamDataset
from timechat.datasets.collate import collate
from timechat.datasets.instruction import InstructionSample
from timechat.errors import ConversationError, WorkerError
from timechat.runners import loading

SIZE = 6

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Files:
    """Samples that are files: reading one may do something, such as hang."""

    name = "tv"

    def __init__(self, does: dict[int, Callable[[], None]]):
        self.does = does

    def __len__(self) -> int:
        return SIZE

    def path(self, index: int) -> str:
        """As InstructionDataset's."""
        return f"{index}.mp4"

    def key(self, index: int) -> str:
        """As InstructionDataset's."""
        return f"tv[{index}] {index}.mp4"

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        """One frame."""
        self.does.get(index, lambda: None)()
        return InstructionSample(
            torch.zeros(1, 3, 1, 1, dtype=torch.uint8), [0.0], [1, index], [-100, index], self.key(index)
        )


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    if multiprocessing.active_children():
        gc.collect()  # DataLoader's errors refer to themselves
    assert not multiprocessing.active_children()


def batches(
    does: dict[int, Callable[[], None]], workers: int = 2, timeout_s: float | None = 1.0, skip: Any = None
) -> Iterator[Any]:
    """Batches of two; sample i is the i-th that is read."""
    dataset = StreamDataset([Files(does)], SampleStream([SIZE]).epoch(0), 0, 0, skip=skip)
    order = [dataset.stream[position].index for position in range(SIZE)]
    dataset.datasets[0].does = {order[position]: action for position, action in does.items()}
    sampler = RankBatches(SIZE, 0, 1, 2)
    return loading.read_batches(dataset, workers, timeout_s, batch_sampler=sampler, collate_fn=collate)


def stop(found: Iterator[Any], message: str) -> tuple[int, list[tuple[str, str, str]]]:
    """How many batches came before the error, and the files that it names."""
    count = 0
    try:
        for _ in found:
            count += 1
    except WorkerError as error:  # not pytest.raises, which would keep the workers with the traceback
        text, files = str(error), error.files
    assert re.search(message, text)
    return count, files


def nth(position: int) -> str:
    """The path of the sample at a position."""
    return f"{SampleStream([SIZE]).epoch(0)[position].index}.mp4"


def test_a_worker_that_hangs_is_found_named_and_ended() -> None:
    hangs = batches({3: lambda: time.sleep(60)})
    count, files = stop(hangs, rf"^tv\[.\] {nth(3)}: not read within run\.data_timeout_s=1 s on .* leaves it out")
    assert count == 1
    assert files == [("tv", nth(3), "a worker hung on it for 1 s (run.data_timeout_s)")]


def test_slow_is_not_hung() -> None:
    """Each sample is within the limit, a batch of them is not."""
    slow = dict.fromkeys(range(4), lambda: time.sleep(2.0))
    assert len(list(batches(slow, timeout_s=3.0))) == 3


def test_without_a_limit_it_is_waited_for() -> None:
    assert len(list(batches({3: lambda: time.sleep(1.5)}, timeout_s=None))) == 3


@pytest.mark.parametrize(
    ("number", "message", "left_out"),
    [
        (signal.SIGKILL, r"ended with SIGKILL while reading tv.*lower run\.num_workers", False),
        (signal.SIGBUS, r"ended with SIGBUS.*/dev/shm", False),
        (signal.SIGSEGV, r"ended with SIGSEGV while reading tv.*leaves it out", True),
    ],
)
def test_a_worker_that_dies_is_named_with_what_it_read(number: int, message: str, left_out: bool) -> None:
    def die() -> None:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)

    count, files = stop(batches({3: die}), message)
    assert count == 1
    assert [path for _, path, _ in files] == ([nth(3)] if left_out else [])


def test_a_death_is_told_when_a_batch_is_missed_and_not_before() -> None:
    """DataLoader's own handler would raise in the middle of whatever this process does; here another one left it."""
    list(torch.utils.data.DataLoader(range(2), num_workers=1))
    told = multiprocessing.Event()

    def die() -> None:
        told.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    found = batches({3: die})
    next(found)
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    told.set()
    while len(multiprocessing.active_children()) == 2:
        time.sleep(0.01)
    assert stop(found, "SIGKILL")[0] == 0


def test_other_errors_pass_through_without_the_workers_traceback() -> None:
    def wrong() -> None:
        raise ConversationError("max_txt_len is too small")

    for workers in (0, 1):
        text = ""
        try:
            list(batches({0: wrong}, workers))
        except ConversationError as error:
            text = str(error)
        assert text == "max_txt_len is too small"


@pytest.mark.parametrize("workers", [0, 1])
def test_files_of_the_skip_list_are_replaced_unopened(workers: int) -> None:
    opened = {2: lambda: pytest.fail("opened")}
    first, second, third = batches(opened, workers, skip={"tv": {nth(2): "it hung"}, "other": {nth(3): "no matter"}})
    (record,) = second.skipped
    assert record["error"] == f"{nth(2)}: it hung"
    assert record["position"] == 2
    assert second.keys == [f"tv[{nth(3)[0]}] {nth(3)}"] * 2
    assert [len(batch) for batch in (first, third)] == [2, 2]
