"""What a run reports: log lines, log.jsonl, trackers' curves, a progress bar; all from the main process."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from timechat import distributed
from timechat.io import write_text
from timechat.runners.peak_flops import peak_flops
from timechat.runners.records import LOG_FILE
from timechat.runners.trackers import Trackers

logger = logging.getLogger(__name__)

SKIPPED_FILE = "skipped.jsonl"
_POSITION = ("epoch", "step")


@dataclass
class Meter:
    """What one process has done since the last log line.

    Attributes:
        loss: sum of the optimizer steps' losses on this process.
        steps, videos, tokens: how many; tokens are positions of the decoder, video tokens included.
        flops: floating-point operations of the model, see `timechat.models.flops`.
        grad_norm: sum of the steps' gradient norms.
        waiting: seconds spent waiting for data; on a GPU those in which it had nothing else to do.
        started: time of the last reset, from time.perf_counter.
    """

    loss: float = 0.0
    steps: int = 0
    videos: int = 0
    tokens: int = 0
    flops: float = 0.0
    grad_norm: float = 0.0
    waiting: float = 0.0
    started: float = 0.0

    def reset(self) -> None:
        """Begin anew."""
        self._become(Meter(started=time.perf_counter()))

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps of this process: its counts, and the seconds since the last reset."""
        state = asdict(self)
        state["elapsed"] = time.perf_counter() - state.pop("started")
        return state

    def load_state_dicts(self, states: Sequence[dict[str, float]]) -> None:
        """Continue from the `state_dict` of each process; another number of processes shares the sums evenly."""
        world = distributed.world_size()
        if len(states) == world:
            state: dict[str, Any] = dict(states[distributed.rank()])
        else:
            state = {key: sum(s[key] for s in states) / len(states) for key in states[0]}
            state |= {key: state[key] * len(states) / world for key in ("videos", "tokens", "flops")}
        self._become(Meter(started=time.perf_counter() - state.pop("elapsed"), **state))

    def _become(self, other: Meter) -> None:
        vars(self).update(vars(other))

    def reduce(self, device: torch.device) -> dict[str, float | None]:
        """Averages and rates over all processes since the reset; collective.

        `mfu` is the share of the GPUs' peak, None where that is unknown; `memory_gib` the most that any process has
        held at once.
        """
        elapsed, steps = time.perf_counter() - self.started, max(self.steps, 1)
        sums = [self.loss / steps, self.grad_norm / steps, self.videos, self.tokens, self.flops]
        sums.append(self.waiting / elapsed)
        loss, grad_norm, videos, tokens, flops, waiting = distributed.all_reduce_sum(sums, device)
        world, peak = distributed.world_size(), peak_flops(device)
        return {
            "loss": loss / world,
            "grad_norm": grad_norm / world,
            "videos_per_s": videos / elapsed,
            "tokens_per_s": tokens / elapsed,
            "data_wait": waiting / world,
            "mfu": flops / elapsed / (peak * world) if peak and flops else None,
            "memory_gib": round(distributed.all_reduce_max(peak_memory(device), device) / 2**30, 2),
        }


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has held: tensors on its GPU, or everything in main memory without one."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(largest if sys.platform == "darwin" else largest * 1024)  # Linux counts KiB


class RunLog:
    """Writes a run's records; does nothing on processes other than the main one.

    Args:
        output_dir: where log.jsonl, skipped.jsonl and the TensorBoard files go.
        step: finished steps of the run that is resumed; records of later ones are removed.
        loggers: `run.loggers`, the names of trackers.

    Attributes:
        failure: what could not be written, of which all processes have to learn; None: everything was.

    Raises:
        ConfigError: a tracker that accelerate does not know, or whose package is not installed.
    """

    def __init__(self, output_dir: Path, step: int = 0, loggers: Sequence[str] = ("tensorboard",)):
        self.output_dir = output_dir
        self._main = distributed.is_main_process()
        self._trackers = Trackers(loggers)
        self._step = step
        self._bar: tqdm | None = None
        self.failure: str | None = None
        if self._main:
            output_dir.mkdir(parents=True, exist_ok=True)
            for name in (LOG_FILE, SKIPPED_FILE):
                _keep(output_dir / name, lambda record: record.get("step", 0) <= step)

    def forget_scores(self, epoch: int) -> None:
        """Remove the scores of epochs after this one: they came after the checkpoint, and are measured again."""
        if self._main:
            _keep(self.output_dir / LOG_FILE, lambda record: record.get("event") != "valid" or record["epoch"] <= epoch)

    def start(self, run_id: str, config: dict[str, Any], device: torch.device) -> None:
        """Start the trackers, once nothing can keep the run from beginning; on the main process only.

        Args:
            run_id: see `record_start`.
            config: of the whole run.
            device: of this process.
        """
        self._trackers.start(self.output_dir, self._step, run_id, config, device)

    def event(self, **record: Any) -> None:
        """Write one record to log.jsonl, for example that the run has started."""
        if self._main:
            self._append(LOG_FILE, [record])

    def step(self, record: dict[str, Any]) -> None:
        """Report one logging interval everywhere."""
        if not self._main:
            return
        self._record("train", record)
        mfu = "" if record["mfu"] is None else f" ({record['mfu']:.0%} of the peak)"
        logger.info(
            "epoch %(epoch)d step %(step)d: loss %(loss).4f, lr %(lr).2e, gradient %(grad_norm).2f, "
            "%(videos_per_s).2f videos/s, %(tokens_per_s).0f tokens/s%(mfu)s, %(data_wait).0f%% of the time waiting "
            "for data, %(memory_gib).1f GiB, %(skipped)d skipped",
            {**record, "data_wait": 100 * record["data_wait"], "mfu": mfu},
        )

    def scores(self, record: dict[str, Any]) -> None:
        """Report what was measured after an epoch everywhere."""
        if not self._main:
            return
        self._record("valid", record)
        scores = ", ".join(f"{key} {value:.4g}" for key, value in record.items() if key not in _POSITION)
        logger.info("epoch %d: %s", record["epoch"], scores)

    def _record(self, event: str, record: dict[str, Any]) -> None:
        self._append(LOG_FILE, [{"event": event, **record}])
        scalars = {f"{event}/{k}": v for k, v in record.items() if k not in _POSITION and v is not None}
        try:
            self._trackers.log(scalars, record["step"])
        except OSError as error:
            self._note_failure("a tracker of run.loggers", error)

    def skipped(self, records: list[dict[str, Any]]) -> None:
        """List skipped samples in skipped.jsonl and warn about them."""
        if self._main and records:
            self._append(SKIPPED_FILE, records)
            for record in records:
                logger.warning("skipped %s: %s", record["sample"], record["error"])

    def progress(self, epoch: int, steps: int, done: int = 0) -> None:
        """Begin an epoch's progress bar, with some steps done already; it shows on a terminal only."""
        if self._bar is not None:
            self._bar.close()
        disable = None if self._main else True
        self._bar = tqdm(total=steps, initial=done, desc=f"epoch {epoch}", unit="step", disable=disable)

    def advance(self, loss: float) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

    def close(self) -> None:
        """End the bar and the trackers."""
        if self._bar is not None:
            self._bar.close()
        try:
            self._trackers.close()
        except OSError as error:
            self._note_failure("a tracker of run.loggers", error)

    def _append(self, name: str, records: Iterable[dict[str, Any]]) -> None:
        """An error is only noted: it meets the main process alone, in the middle of what all do together."""
        try:
            with (self.output_dir / name).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            self._note_failure(str(self.output_dir / name), error)

    def _note_failure(self, what: str, error: OSError) -> None:
        logger.error("%s: cannot be written (%s)", what, error)
        self.failure = self.failure or f"{what}: cannot be written ({error.strerror or error}); is the disk full?"


def _keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Keep some records; lines that a killed process or machine left unfinished are removed, too."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _is_kept(line, wanted)]
    if kept != lines:
        write_text(path, "".join(kept))


def _is_kept(line: str, wanted: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        return line.endswith("\n") and wanted(json.loads(line))
    except ValueError:
        logger.warning("a broken line of the log is removed: %r", line[:80])
        return False
