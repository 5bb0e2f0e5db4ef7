"""One process, with and without torchrun's environment; two: tests/runners/test_distributed_training.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from timechat import distributed

CPU = torch.device("cpu")


@pytest.fixture
def _root_logging() -> Iterator[None]:
    """Puts the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_one_process_is_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
    assert distributed.is_main_process()


def test_torchrun_tells_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (5, 1, 8)
    assert not distributed.is_main_process()


def test_collectives_of_one_process_do_the_obvious() -> None:
    distributed.init_process_group(CPU)
    assert not torch.distributed.is_initialized()
    assert distributed.all_reduce_sum([1.5, 2, 2**53 - 1], CPU) == [1.5, 2.0, float(2**53 - 1)]
    assert distributed.gather_objects({"a": 1}) == [{"a": 1}]
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.usefixtures("_root_logging")
@pytest.mark.parametrize(("rank", "levels"), [("0", ["INFO", "ERROR"]), ("1", ["ERROR"])])
def test_other_processes_log_errors_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, levels: list[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    distributed.setup_logging()
    logging.getLogger("timechat.x").info("fine")
    logging.getLogger("timechat.x").error("broken")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == levels
    assert all(f"[rank {rank}] timechat.x: " in line for line in lines)
