"""What the page shows of a video and of answers about it, as HTML; every word that is not ours is escaped.

Whatever carries `data-start` moves the player there when it is pressed, and with `data-end` plays until then
(`player.js`).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape

import torch
from PIL import Image

from timechat.app.answer import Answer, Segment
from timechat.app.exports import extent
from timechat.app.web.model import is_image
from timechat.app.web.session import Exchange
from timechat.app.web.uploads import SEEN_SUFFIXES, Media, megabytes
from timechat.datasets.video import Video

ARROW = "M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3M12 4v11M7.5 8.5 12 4l4.5 4.5"  # into a tray
THUMBNAIL = 112  # pixels, the longer side
MOST_TICKS = 7
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
TASKS = {
    None: "Ask",
    "ground": "Find a moment",
    "caption": "Describe with times",
    "highlights": "Highlights",
}


def clock(seconds: float) -> str:
    """0:07, 12:30.5, 1:02:03: tenths only where there are any."""
    tenths = round(max(0.0, seconds) * 10)
    whole, tenth = divmod(tenths, 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return f"{text}.{tenth}" if tenth else text


def alert(problem: str) -> str:
    """Words about what went wrong, read out at once; nothing if nothing did."""
    return f'<div class="tc-alert" role="alert">{escape(problem)}</div>' if problem else ""


def note(text: str) -> str:
    """Words about what has just been done."""
    return f'<div class="tc-note" role="status">{escape(text)}</div>' if text else ""


# The video ------------------------------------------------------------------------------------------------------------


def player(media: Media | None, max_bytes: int, visitor: str = "") -> str:
    """The video or image, with a way to choose another; a place to drop one while there is none.

    Args:
        media: what is shown.
        max_bytes: the largest file.
        visitor: token of who looks at it; the page says with it that it is still there (`player.js`).
    """
    accept = ",".join(SEEN_SUFFIXES)
    choose = f'<input type="file" class="tc-file" accept="{accept}" data-limit="{max_bytes}" data-action="open"'
    if media is None:
        return f"""<label class="tc-drop" data-drop>
  {choose} aria-label="Choose a video or an image">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="{ARROW}"/></svg>
  <strong>Drop a video or an image here</strong>
  <span>or choose a file, up to {megabytes(max_bytes)}</span>
  <progress class="tc-progress" hidden max="1" aria-label="Sending"></progress>
</label>"""
    source, name = f"timechat/video/{media.token}", escape(media.name, quote=True)
    if is_image(media.path):
        shown = f'<img class="tc-video" src="{source}" alt="{name}">'
    else:
        shown = (
            f'<video class="tc-video" src="{source}" aria-label="{name}" controls playsinline preload="auto"></video>'
        )
    return f"""<div class="tc-stage" data-drop data-here="timechat/here/{visitor}">{shown}</div>
<p class="tc-unplayable" role="status" hidden>This browser cannot play the file. Questions about it work all the same; \
the frames below show what is where.</p>
<div class="tc-under"><span class="tc-name" title="{name}">{name}</span>
  <label class="tc-link">{choose} aria-label="Choose another video or image">Another video</label>
  <progress class="tc-progress" hidden max="1" aria-label="Sending"></progress></div>"""


def frames(video: Video | None) -> str:
    """The frames that the model sees, with their seconds; each leads the player there."""
    if video is None or video.duration == 0:
        return ""
    buttons = [
        f'<button type="button" class="tc-frame" data-start="{second:.3f}" aria-label="Go to {clock(second)}">'
        f'<img src="{data_uri(frame)}" alt="" loading="lazy"><span>{clock(second)}</span></button>'
        for frame, second in zip(video.frames, video.seconds, strict=True)
    ]
    count = f"{len(buttons)} frames, as the model sees them"
    strip = f'<div class="tc-strip" role="group" aria-label="{count}">{"".join(buttons)}</div>'
    return f'<h2 class="tc-head">{count}</h2>{strip}'


def data_uri(frame: torch.Tensor) -> str:
    """A small JPEG of a frame [3, H, W], uint8, inside an address."""
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def examples(found: Sequence[tuple[Media, Video | None]]) -> str:
    """A button with a picture for each example."""
    if not found:
        return ""
    buttons = [_example(media, video) for media, video in found]
    return f"""<h2 class="tc-head">Examples</h2>
<div class="tc-examples" role="group" aria-label="Examples">{"".join(buttons)}</div>"""


def _example(media: Media, video: Video | None) -> str:
    name = escape(media.name, quote=True)
    picture, length = "", ""
    if video is not None:
        picture = f'<img src="{data_uri(video.frames[len(video.frames) // 2])}" alt="">'
        length = f"<small>{clock(video.duration)}</small>" if video.duration else ""
    return (
        f'<button type="button" class="tc-example" data-action="open" data-token="{media.token}" aria-label="Ask about '
        f'{name}">{picture}<span>{name}</span>{length}</button>'
    )


# The conversation -----------------------------------------------------------------------------------------------------


def conversation(exchanges: Sequence[Exchange], suggestions: Sequence[str] = ()) -> str:
    """Questions and answers, oldest first; before the first, what could be asked."""
    if not exchanges:
        buttons = [
            f'<button type="button" class="tc-suggestion" data-action="suggest" data-text="{escape(text, quote=True)}">'
            f"{escape(text)}</button>"
            for text in suggestions
        ]
        hint = "Ask what happens in the video, and when. Times in the answer lead the player there."
        return f'<div class="tc-hint"><p>{hint}</p>{"".join(buttons)}</div>'
    return f'<div class="tc-log" role="group" aria-label="Conversation">{"".join(map(_exchange, exchanges))}</div>'


def _exchange(exchange: Exchange) -> str:
    task = f'<span class="tc-task">{TASKS[exchange.task]}</span> ' if exchange.task else ""
    asked = f'<div class="tc-asked">{task}{escape(exchange.question)}</div>'
    if exchange.problem:
        said = escape(exchange.text)
        return asked + (f'<div class="tc-said">{said}</div>' if said else "") + alert(exchange.problem)
    if not exchange.text and not exchange.ended:
        return f'{asked}<div class="tc-said tc-busy">Looking at the video<i></i></div>'
    caret = "" if exchange.ended else "<i></i>"
    stopped = '<span class="tc-stopped">stopped</span>' if exchange.stopped else ""
    chips = _times(exchange.answer.segments) if exchange.answer else ""
    state = "" if exchange.ended else " tc-busy"
    return f'{asked}<div class="tc-said{state}">{escape(exchange.text)}{caret}{stopped}{chips}</div>'


def _times(segments: Sequence[Segment]) -> str:
    buttons = "".join(_chip(segment, "") for segment in segments)
    return f'<div class="tc-times">{buttons}</div>' if buttons else ""


def _chip(segment: Segment, text: str) -> str:
    start, end = extent(segment)
    label = f"<span>{escape(text)}</span>" if text else ""
    score = f"<small>{segment.score:g}</small>" if segment.score is not None else ""
    return (
        f'<button type="button" class="tc-chip" data-start="{start:.3f}" data-end="{end:.3f}" '
        f'aria-label="{_spoken(segment)}">'
        f"<b>{_interval(segment)}</b>{label}{score}</button>"
    )


def _interval(segment: Segment) -> str:
    if segment.end == segment.start:
        return clock(segment.start)
    return f"{clock(segment.start)} – {clock(segment.end)}"


def _spoken(segment: Segment) -> str:
    when = clock(segment.start) if segment.end == segment.start else f"{clock(segment.start)} to {clock(segment.end)}"
    score = "" if segment.score is None else f", saliency {segment.score:g}"
    text = f", {segment.text}" if segment.text else ""
    return escape(f"Play {when}{text}{score}", quote=True)


# The timeline ---------------------------------------------------------------------------------------------------------


def timeline(exchange: Exchange | None, duration: float) -> str:
    """The segments of an answer over the length of the video, and below them as a list; nothing without segments."""
    if exchange is None or exchange.answer is None or not exchange.answer.segments:
        return ""
    answer = exchange.answer
    length = max(duration, *(extent(segment)[1] for segment in answer.segments), 0.1)
    bars = "".join(_bars(answer.segments, length))
    lanes = max(lanes_of(answer.segments), default=0) + 1
    chips = "".join(f"<li>{_chip(segment, segment.text)}</li>" for segment in answer.segments)
    return f"""<section class="tc-timeline" aria-label="Timeline of the answer" data-duration="{length:.3f}">
<div class="tc-track" style="--lanes:{lanes}">{_curve(answer, length)}{bars}
<div class="tc-head-line" aria-hidden="true"></div></div>
<div class="tc-axis" aria-hidden="true">{"".join(_ticks(length))}</div>
<ol class="tc-chips">{chips}</ol>
{_downloads(exchange)}</section>"""


def _bars(segments: Sequence[Segment], length: float) -> Iterable[str]:
    for segment, lane in zip(segments, lanes_of(segments), strict=True):
        start, end = extent(segment)
        yield (
            f'<button type="button" class="tc-bar" style="left:{100 * start / length:.3f}%;'
            f'width:{100 * (end - start) / length:.3f}%;--lane:{lane}" data-start="{start:.3f}" data-end="{end:.3f}" '
            f'aria-label="{_spoken(segment)}" title="{_interval(segment)}"></button>'
        )


def lanes_of(segments: Sequence[Segment]) -> list[int]:
    """A row for each segment, so that none covers another; highlights, which the curve shows, all get the first."""
    ends: list[float] = []
    lanes = []
    for segment in segments:
        start, end = extent(segment)
        if segment.score is not None:
            lanes.append(0)
            continue
        lane = next((lane for lane, until in enumerate(ends) if until <= start), len(ends))
        ends[lane : lane + 1] = [end]
        lanes.append(lane)
    return lanes


def _curve(answer: Answer, length: float) -> str:
    """The saliency of highlights over time, 0 where the answer names none."""
    scored = sorted((s.start, s.score) for s in answer.segments if s.score is not None)
    if not scored:
        return ""
    top = max(max(score for _, score in scored), 1e-6)
    points = [(0.0, 0.0)]
    for segment in sorted((s for s in answer.segments if s.score is not None), key=lambda s: s.start):
        start, end = extent(segment)
        height = (segment.score or 0.0) / top
        if start > points[-1][0]:
            points += [(points[-1][0], 0.0), (start, 0.0)]
        points += [(start, height), (end, height)]
    points += [(points[-1][0], 0.0), (length, 0.0)]
    path = " ".join(f"{100 * x / length:.2f},{38 - 36 * y:.2f}" for x, y in points)
    label = f"Saliency of {len(scored)} moments, up to {top:g}"
    return (
        f'<svg class="tc-curve" viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<polygon points="0,38 {path} 100,38"/><polyline points="{path}"/></svg>'
    )


def _ticks(length: float) -> Iterable[str]:
    step = next((step for step in STEPS if length / step <= MOST_TICKS), math.ceil(length / MOST_TICKS))
    for index in range(int(length / step) + 1):
        second = index * step
        yield f'<span style="left:{100 * second / length:.3f}%">{clock(second)}</span>'


def _downloads(exchange: Exchange) -> str:
    address = f"timechat/answers/{exchange.token}"
    kinds = {
        "json": ("JSON", "the whole answer"),
        "srt": ("SRT", "chapters for a player"),
        "md": ("Table", "Markdown"),
        "zip": ("Clips", "the segments as videos"),
    }
    links = [
        f'<a class="tc-save" href="{address}.{kind}" download data-save aria-label="Save as {name}, {about}" '
        f'title="{about}">{name}</a>'
        for kind, (name, about) in kinds.items()
    ]
    return f'<div class="tc-saves"><span>Save</span>{"".join(links)}</div>'
