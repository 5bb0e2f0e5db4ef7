"""Making many videos: in several processes, with a progress bar, from where an earlier run stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from timechat.data.encoding import Encoding
from timechat.data.ffmpeg import problem_of_ffmpeg, require_ffmpeg
from timechat.data.rewriting import VideoJob, Written, rewrite
from timechat.data.worker_pool import WorkerPool
from timechat.errors import ConfigError, VideoError
from timechat.io import remove_left_overs, replacing, write_json, write_json_lines
from timechat.locks import FolderLock
from timechat.wording import counted

# In the folder of the new files: what could not be made, and with which settings the others were.
FAILED = "failed.jsonl"
SETTINGS = "encoding.json"

_HOUR = 3600


@dataclass(frozen=True)
class Running:
    """How jobs are run.

    Attributes:
        writer: auto (ffmpeg if there is one on PATH, else PyAV) | ffmpeg | pyav.
        workers: processes.
        timeout_s: seconds that one video may take.
    """

    writer: str = "auto"
    workers: int = 1
    timeout_s: float = _HOUR

    def chosen_writer(self) -> str:
        """ffmpeg or pyav. Raises ConfigError: ffmpeg is asked for and cannot be used."""
        if self.writer == "auto":
            return "pyav" if problem_of_ffmpeg() else "ffmpeg"
        if self.writer == "ffmpeg":
            require_ffmpeg()
        return self.writer


@dataclass
class Summary:
    """What became of the jobs.

    Attributes:
        written: what was made, by its path.
        kept: how many files were there before.
        failed: why a file was not made, by its path.
        bytes_read, bytes_written: sizes of the videos that were read, and of the files that were made.
    """

    written: dict[str, Written] = field(default_factory=dict)
    kept: int = 0
    failed: dict[str, VideoError] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0

    def lines(self, output: Path) -> Iterator[str]:
        """For people. `output`: the folder of the new files."""
        yield f"made {len(self.written):,}, were there {self.kept:,}, failed {len(self.failed):,}"
        if self.written:
            length = _length(sum(written.seconds for written in self.written.values()))
            yield f"{length} of video: {_size(self.bytes_read)} became {_size(self.bytes_written)}"
            by_ffmpeg = sum(written.by_ffmpeg for written in self.written.values())
            yield f"written by ffmpeg {by_ffmpeg:,}, by PyAV {len(self.written) - by_ffmpeg:,}"
        short = [(written.short_by, target) for target, written in self.written.items() if written.short_by > 0]
        if short:
            most, target = max(short)
            ends = counted(len(short), "ends with its video", "end with their video")
            yield f"{ends}, before the end that was asked for: {target} by {most:.2f} s"
        if self.failed:
            yield f"why they failed: {output / FAILED}; the same command tries them again"


def run_jobs(jobs: Sequence[VideoJob], output: Path, encoding: Encoding, running: Running) -> Summary:
    """Make the files that are not there yet; each appears when it is whole.

    Failures are listed in `output/failed.jsonl`, and nothing stands in for what could not be made.

    Args:
        jobs: what to make, each target once.
        output: the folder that the targets are in.
        encoding: the settings, for all of them.
        running: how.

    Raises:
        ConfigError: the folder was begun with other settings, another process makes videos in it, it cannot be written
            to, or ffmpeg is asked for and cannot be used.
        OSError: the folder cannot be written to.
    """
    writer = running.chosen_writer()
    lock = FolderLock(output, str(output), "is making videos in it")
    lock.acquire()
    try:
        _claim(output, encoding)
        remove_left_overs(job.target for job in jobs)
        return _run(jobs, output, encoding, running, writer)
    finally:
        lock.release()


def _run(jobs: Sequence[VideoJob], output: Path, encoding: Encoding, running: Running, writer: str) -> Summary:
    summary = Summary()
    waiting = [job for job in jobs if not os.path.lexists(job.target)]
    summary.kept = len(jobs) - len(waiting)
    pool = WorkerPool(rewrite, max(1, min(running.workers, len(waiting))), running.timeout_s)
    make = partial(_make, pool=pool, encoding=encoding, writer=writer)
    try:
        with tqdm(total=len(waiting), unit="video", disable=None) as bar:
            for job, result in pool.each(make, waiting):
                _note(summary, job, result)
                bar.set_postfix(failed=len(summary.failed), refresh=False)
                bar.update()
    finally:
        _list_failed(output, jobs, summary)
    return summary


def _make(job: VideoJob, pool: WorkerPool, encoding: Encoding, writer: str) -> Written | VideoError:
    try:
        with replacing(job.target) as temporary:
            return pool.call(job.source, job, temporary, encoding, writer)
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError(job.source, f"cannot be read or written ({error})")


def _note(summary: Summary, job: VideoJob, result: Written | VideoError) -> None:
    if isinstance(result, VideoError):
        summary.failed[job.target] = result
        return
    summary.written[job.target] = result
    summary.bytes_read += os.path.getsize(job.source)
    summary.bytes_written += os.path.getsize(job.target)


def _claim(output: Path, encoding: Encoding) -> None:
    """Write down the settings of a folder; files of other settings must not get in between. Raises ConfigError."""
    path, settings = output / SETTINGS, asdict(encoding)
    if not path.exists():
        write_json(path, settings)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{path}: not valid JSON ({error}); remove it if you know how these videos were made"
        ) from error
    if before != settings:
        changed = ", ".join(
            f"{key}={before.get(key)} then, {value} now" for key, value in settings.items() if before.get(key) != value
        )
        raise ConfigError(
            f"{path}: the videos of this folder were made with other settings ({changed}); give another folder"
        )


def _list_failed(output: Path, jobs: Sequence[VideoJob], summary: Summary) -> None:
    rows = [
        {"video": job.source, "output": job.target, "error": summary.failed[job.target].reason}
        for job in jobs
        if job.target in summary.failed
    ]
    if rows:
        write_json_lines(output / FAILED, rows)
    else:
        (output / FAILED).unlink(missing_ok=True)


def _length(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else f"{seconds / 60:.1f} min"
        if seconds < _HOUR
        else f"{seconds / _HOUR:,.1f} h"
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
