"""Making many videos: in several processes, with a progress bar, from where an earlier run stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from timechat.data.encoding import Encoding
from timechat.data.ffmpeg import problem_of_ffmpeg, require_ffmpeg
from timechat.data.frame_plan import Part
from timechat.data.rewriting import VideoJob, Written, is_whole, rewrite
from timechat.data.worker_pool import WorkerPool
from timechat.errors import ConfigError, VideoError
from timechat.io import remove_empty, remove_left_overs, replacing, write_json, write_json_lines
from timechat.locks import FolderLock
from timechat.wording import counted, in_bytes

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
        larger: files of whole videos that became larger than these: both sizes, by path.
    """

    written: dict[str, Written] = field(default_factory=dict)
    kept: int = 0
    failed: dict[str, VideoError] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0
    larger: dict[str, tuple[int, int]] = field(default_factory=dict)

    def lines(self, output: Path) -> Iterator[str]:
        """For people. `output`: the folder of the new files."""
        yield f"made {len(self.written):,}, were there {self.kept:,}, failed {len(self.failed):,}"
        if self.written:
            length = _length(sum(written.seconds for written in self.written.values()))
            yield f"{length} of video: {in_bytes(self.bytes_read)} became {in_bytes(self.bytes_written)}"
            by_ffmpeg = sum(written.by_ffmpeg for written in self.written.values())
            yield f"written by ffmpeg {by_ffmpeg:,}, by PyAV {len(self.written) - by_ffmpeg:,}"
        short = [(written.short_by, target) for target, written in self.written.items() if written.short_by > 0]
        if short:
            most, target = max(short)
            ends = counted(len(short), "ends with its video", "end with their video")
            yield f"{ends}, before the end that was asked for: {target} by {most:.2f} s"
        if self.larger:
            target, (before, after) = next(iter(self.larger.items()))
            sizes = f"{target}, of {in_bytes(before)} before and {in_bytes(after)} now"
            yield f"larger than their originals, which serve as well: {len(self.larger):,}, such as {sizes}"
        if self.failed:
            yield f"why they failed: {output / FAILED}; the same command tries them again"


def run_jobs(jobs: Sequence[VideoJob], output: Path, encoding: Encoding, running: Running) -> Summary:
    """Make the files that are not there yet, or cannot be read; each appears when it is whole.

    Failures are listed in `output/failed.jsonl`, and nothing stands in for what could not be made.

    Args:
        jobs: what to make, each target once.
        output: the folder that the targets are in.
        encoding: the settings, for all of them.
        running: how.

    Raises:
        ConfigError: the folder was begun with other settings, holds files of those names that are not this command's,
            or cannot be written to; another process makes videos in it; or ffmpeg is asked for and cannot be used.
        OSError: the folder cannot be written to.
    """
    writer = running.chosen_writer()
    lock = FolderLock(output, str(output), "is making videos in it")
    lock.acquire()
    try:
        there = [job for job in jobs if os.path.lexists(job.target)]
        _claim(output, encoding, there)
        remove_left_overs(job.target for job in jobs)
        return _run(jobs, output, encoding, running, writer, _whole(there, running))
    finally:
        lock.release()


def _run(
    jobs: Sequence[VideoJob], output: Path, encoding: Encoding, running: Running, writer: str, whole: Collection[str]
) -> Summary:
    summary = Summary()
    waiting = [job for job in jobs if job.target not in whole]
    summary.kept = len(whole)
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
        for folder in {Path(target).parent for target in summary.failed}:
            remove_empty([one for one in (folder, *folder.parents) if one.is_relative_to(output)])
    return summary


def _whole(jobs: Sequence[VideoJob], running: Running) -> set[str]:
    """The targets that can be read: an empty file, or half of one, is made again."""
    pool = WorkerPool(is_whole, max(1, min(running.workers, len(jobs))), running.timeout_s)
    with tqdm(total=len(jobs), desc="there already", unit="video", disable=None) as bar:
        found = set()
        for job, whole in pool.each(partial(_is_whole, pool=pool), jobs):
            found |= {job.target} if whole else set()
            bar.update()
    return found


def _is_whole(job: VideoJob, pool: WorkerPool) -> bool:
    try:
        return bool(pool.call(job.target, job.target))
    except (VideoError, OSError):
        return False


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
    before, after = os.path.getsize(job.source), os.path.getsize(job.target)
    summary.bytes_read += before
    summary.bytes_written += after
    if job.part == Part() and after > before:
        summary.larger[job.target] = before, after


def _claim(output: Path, encoding: Encoding, there: Sequence[VideoJob]) -> None:
    """Write down the settings of a folder; files of other settings, or of others, must not get in between.

    Raises:
        ConfigError: they would.
    """
    path, settings = output / SETTINGS, asdict(encoding)
    if not path.exists():
        if there:
            raise ConfigError(
                f"{there[0].target}: is there, but not made by this command, which leaves {SETTINGS} in its folder; "
                "give another folder"
            )
        write_json(path, settings)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON ({error}); give another folder") from error
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
