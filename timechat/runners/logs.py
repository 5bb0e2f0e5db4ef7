"""What a run says: log lines, log.jsonl, TensorBoard, a progress bar; all from the main process."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from timechat import distributed

logger = logging.getLogger(__name__)

LOG_FILE = "log.jsonl"
SKIPPED_FILE = "skipped.jsonl"


@dataclass
class Meter:
    """What one process has done since the last log line.

    Attributes:
        loss: sum over updates of the update's loss on this process.
        updates, videos, tokens: how many; tokens are positions of the decoder, video tokens included.
        waiting: seconds spent waiting for data.
        started: time of the last reset, from time.perf_counter.
    """

    loss: float = 0.0
    updates: int = 0
    videos: int = 0
    tokens: int = 0
    waiting: float = 0.0
    started: float = 0.0

    def reset(self) -> None:
        """Begin anew."""
        self.__init__(started=time.perf_counter())

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps of this process: its counts, and the seconds since the last reset."""
        state = asdict(self)
        state["elapsed"] = time.perf_counter() - state.pop("started")
        return state

    def load_state_dicts(self, states: Sequence[dict[str, float]]) -> None:
        """Continue from the `state_dict` of each process; on another number of processes they are shared out anew."""
        world = distributed.world_size()
        if len(states) == world:
            state = dict(states[distributed.rank()])
        else:
            state = {key: sum(s[key] for s in states) / len(states) for key in states[0]}
            state |= {key: state[key] * len(states) / world for key in ("videos", "tokens")}
        self.__init__(started=time.perf_counter() - state.pop("elapsed"), **state)

    def reduce(self, device: Any) -> dict[str, float]:
        """Averages and rates over all processes since the reset; collective."""
        elapsed = time.perf_counter() - self.started
        sums = [self.loss / max(self.updates, 1), self.videos, self.tokens, self.waiting / elapsed]
        loss, videos, tokens, waiting = distributed.all_reduce_sum(sums, device)
        world = distributed.world_size()
        return {
            "loss": loss / world,
            "videos_per_s": videos / elapsed,
            "tokens_per_s": tokens / elapsed,
            "data_wait": waiting / world,
        }


class RunLog:
    """Writes a run's records; does nothing on other processes than the main one.

    Args:
        output_dir: where log.jsonl, skipped.jsonl and the TensorBoard files go.
        update: finished updates of the run that goes on; what was written about later ones is cut off.
    """

    def __init__(self, output_dir: Path, update: int = 0):
        self.output_dir = output_dir
        self._main = distributed.is_main_process()
        self._tensorboard: SummaryWriter | None = None
        self._bar: tqdm | None = None
        if self._main:
            output_dir.mkdir(parents=True, exist_ok=True)
            for name in (LOG_FILE, SKIPPED_FILE):
                _cut(output_dir / name, update)
            self._tensorboard = SummaryWriter(str(output_dir / "tensorboard"), purge_step=update + 1)

    def event(self, **record: Any) -> None:
        """Write one record to log.jsonl, for example that the run has started."""
        if self._main:
            self._append(LOG_FILE, [record])

    def step(self, record: dict[str, Any]) -> None:
        """Write the record of one stretch of training everywhere."""
        if self._tensorboard is None:
            return
        self._append(LOG_FILE, [{"event": "train", **record}])
        for key in ("loss", "lr", "videos_per_s", "tokens_per_s", "data_wait"):
            self._tensorboard.add_scalar(f"train/{key}", record[key], record["update"])
        logger.info(
            "epoch %(epoch)d update %(update)d: loss %(loss).4f, lr %(lr).2e, %(videos_per_s).2f videos/s, "
            "%(tokens_per_s).0f tokens/s, %(data_wait).0f%% of the time waiting for data, %(skipped)d skipped",
            {**record, "data_wait": 100 * record["data_wait"]},
        )

    def skipped(self, records: list[dict[str, Any]]) -> None:
        """Name skipped samples in skipped.jsonl and warn."""
        if self._main and records:
            self._append(SKIPPED_FILE, records)
            for record in records:
                logger.warning("skipped %s: %s", record["sample"], record["error"])

    def progress(self, epoch: int, updates: int, done: int = 0) -> None:
        """Begin an epoch's progress bar, of which some updates are done; it shows on a terminal only."""
        if self._bar is not None:
            self._bar.close()
        disable = None if self._main else True
        self._bar = tqdm(total=updates, initial=done, desc=f"epoch {epoch}", unit="update", disable=disable)

    def advance(self, loss: float) -> None:
        """One update is done."""
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

    def close(self) -> None:
        """End the bar and the files."""
        if self._bar is not None:
            self._bar.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _append(self, name: str, records: Iterable[dict[str, Any]]) -> None:
        with (self.output_dir / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


def _cut(path: Path, update: int) -> None:
    """Keep the records up to an update; a last line that a killed process left unfinished goes as well."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line).get("update", 0) <= update]
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)
