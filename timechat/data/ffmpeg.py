"""Writing a video anew with the program ffmpeg, in the version that the machine has.

Only for constant frame rates, and videos without doubts (`look.py`): where frames have guessed times, times before
zero, or lost neighbours, versions of FFmpeg disagree about when they are shown, and with the frames of the original
about how long the last one stays. PyAV, which this package's readers use, writes the others.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import av

from timechat.data.encoding import CODEC, INTERPOLATION, PIXELS, Encoding, encoder_options, fit
from timechat.data.frame_plan import ROUNDING_S, FramePlan
from timechat.datasets.readers.base import AV_ERRORS, one_line, undecodable
from timechat.datasets.readers.display import Scaler
from timechat.datasets.readers.look import Look, video_stream
from timechat.datasets.readers.pyav import Display
from timechat.errors import ConfigError, VideoError

PROGRAM = "ffmpeg"

# How much earlier than its first frame a part is read, seconds: more than any encoder delays sound.
_SEEK_MARGIN_S = 1.0


def problem_of_ffmpeg() -> str | None:
    """Why there is no ffmpeg that can be used, for messages; None if there is one."""
    path = shutil.which(PROGRAM)
    if path is None:
        return f"no {PROGRAM} on PATH"
    if f" {CODEC} " not in _said(path, "-encoders"):  # some builds leave x264 out, because of its licence
        return f"{path} has no {CODEC}"
    return None


def require_ffmpeg() -> None:
    """Raise ConfigError without an ffmpeg that can be used."""
    if problem := problem_of_ffmpeg():
        raise ConfigError(f"--with ffmpeg: {problem}; install another one, or take --with pyav")


def _said(path: str, *options: str) -> str:
    command = [path, "-hide_banner", "-loglevel", "error", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout


def write_with_ffmpeg(
    source: str, target: Path, container_format: str, plan: FramePlan, look: Look, encoding: Encoding
) -> None:
    """Write the planned frames of a file, upright and without sound.

    Args:
        source, target, container_format, plan, look: as for `write_with_pyav`.
        encoding: the settings, with `fps`.

    Raises:
        VideoError: ffmpeg fails.
    """
    stream, size = _stream_and_size(source, plan, look, encoding)
    command = [PROGRAM, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-threads", "1"]
    # Times as in the file: versions disagree about where a file with sound starts.
    command += ["-copyts", *_seek(plan, look), "-i", f"file:{source}", "-map", f"0:{stream}", "-map_metadata", "-1"]
    command += ["-filter_threads", "1", "-vf", _filters(plan, encoding, size, look.start)]
    command += ["-c:v", CODEC]
    for name, value in encoder_options(encoding, plan.rate).items():
        command += [f"-{name}", value]
    command += ["-frames:v", str(len(plan.seconds)), "-f", container_format, f"file:{target}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise VideoError(source, f"ffmpeg failed ({said[-1][:200]}). Take --with pyav, or download it again.")


def _filters(plan: FramePlan, encoding: Encoding, size: tuple[int, int], start: float) -> str:
    """FFmpeg's filters for a plan.

    Args:
        plan: the frames.
        encoding: the settings.
        size: of the picture, (width, height).
        start: zero of the player's clock, seconds in the file.
    """
    first, last = (second + start for second in plan.reach)
    trim = [f"{name}={second:.6f}" for name, second in (("start", first), ("end", last)) if math.isfinite(second)]
    microseconds = round((plan.begin + start + ROUNDING_S) * 1e6)
    filters = ["settb=1/1000000"]
    filters += [f"trim={':'.join(trim)}"] if trim else []
    # Frame k is the last one whose time is not after k / fps.
    filters += [f"setpts='if(N,max(PTS-({microseconds}),0),0)'", f"fps=fps={encoding.fps!r}:start_time=0:round=up"]
    return ",".join([*filters, "scale={}:{}:flags={}".format(*size, INTERPOLATION), f"format={PIXELS}", "setsar=1"])


def _stream_and_size(source: str, plan: FramePlan, look: Look, encoding: Encoding) -> tuple[int, tuple[int, int]]:
    """Which stream players show, and the size of the new picture."""
    try:
        with av.open(source) as container:
            frame = Display(source, container, look).at(int(plan.stamps[0]))
            picture = Scaler(fit(encoding.short_side)).scaled(frame)
            return video_stream(source, container).index, (picture.width, picture.height)
    except AV_ERRORS as error:
        raise undecodable(source, one_line(error)) from error


def _seek(plan: FramePlan, look: Look) -> list[str]:
    """Arguments that let ffmpeg begin to read shortly before the first frame."""
    begin = plan.reach[0] - _SEEK_MARGIN_S
    return ["-ss", f"{begin:.6f}"] if math.isfinite(begin) and begin > 0 and len(look.keys) > 1 else []
