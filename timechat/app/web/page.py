"""The layout of the page, and what happens when something in it is pressed."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.app.web import markup
from timechat.app.web.errors import PageError, in_words
from timechat.app.web.session import Exchange, Settings, Visitor
from timechat.app.web.toolkit import gr
from timechat.app.web.uploads import Media
from timechat.app.web.visitors import Visitors
from timechat.datasets.video import Video
from timechat.evaluation.transcripts import SUFFIXES as SPEECH_SUFFIXES

HERE = Path(__file__).parent
TITLE = "TimeChat"
ANSWER_TOKENS = (16, 1024, 256)  # least, most, as the page begins
MOST_TEMPERATURE = 1.5
QUEUE = 32  # questions that wait for the model; more are told to come back
# Called with what `player.js` tells; gradio takes it to Python.
BRIDGE = "document.addEventListener('timechat', (event) => trigger('submit', event.detail));"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


@dataclass(frozen=True)
class Parts:
    """The components that events change."""

    alert: Any
    player: Any
    timeline: Any
    frames: Any
    talk: Any
    task: Any
    question: Any
    ask: Any
    stop: Any
    speech: Any
    clear: Any
    settings: Sequence[Any]


def build_page(
    visitors: Visitors, model_name: str, pictures: Sequence[tuple[Media, Video | None]], suggestions: Sequence[str] = ()
) -> Any:
    """The page as gradio's Blocks.

    Args:
        visitors: who has opened it, with the model and the files.
        model_name: shown beside the title.
        pictures: the examples, with some of their frames if they can be read.
        suggestions: questions that fill the text field when they are pressed.
    """
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as page:
        gr.HTML(_title(model_name), elem_classes="tc-plain")
        with gr.Row(elem_id="tc-columns"):
            with gr.Column(scale=11, elem_id="tc-left"):
                player = gr.HTML(markup.player(None, visitors.uploads.max_bytes), elem_id="tc-player")
                timeline = gr.HTML("", elem_id="tc-timeline")
                frames = gr.HTML("", elem_id="tc-frames")
                gr.HTML(markup.examples(pictures), elem_id="tc-examples")
            with gr.Column(scale=9, elem_id="tc-right"):
                talk = gr.HTML(markup.conversation([], suggestions), elem_id="tc-talk")
                alert = gr.HTML("", elem_id="tc-alert")
                parts = _asking(visitors, alert, player, timeline, frames, talk)
        _connect(page, parts, visitors, tuple(suggestions))
    page.queue(default_concurrency_limit=None, max_size=QUEUE)
    return page


def appearance() -> dict[str, Any]:
    """Arguments of `launch`: theme, styles, script; nothing of it comes from another host."""
    theme = gr.themes.Base(primary_hue="teal", neutral_hue="slate", font=FONTS, font_mono=MONO)
    script = f"<script>{(HERE / 'player.js').read_text(encoding='utf-8')}</script>"
    return {"theme": theme, "css": (HERE / "player.css").read_text(encoding="utf-8"), "head": script}


def _title(model_name: str) -> str:
    return (
        f'<header class="tc-title"><h1>{TITLE}</h1><p>Ask a video what happens, and when.</p>'
        f'<p class="tc-model">{html.escape(model_name)}</p></header><p class="tc-status" role="status"></p>'
        '<p class="tc-spoken" role="status"></p>'
    )


def _asking(visitors: Visitors, alert: Any, player: Any, timeline: Any, frames: Any, talk: Any) -> Parts:
    """Everything to ask with: the task, the question, and the settings."""
    choices = [(words, name or "") for name, words in markup.TASKS.items()]
    task = gr.Radio(choices, value="", label="Task", show_label=False, elem_id="tc-task", container=False)
    with gr.Row(elem_id="tc-send"):
        question = gr.Textbox(
            label="Question",
            show_label=False,
            container=False,
            placeholder="When does she crack the egg?",
            elem_id="tc-question",
            scale=6,
            lines=1,
            max_lines=4,
        )
        ask = gr.Button("Ask", variant="primary", scale=1, elem_id="tc-ask")
        stop = gr.Button("Stop", variant="secondary", scale=1, visible=False, elem_id="tc-stop")
    with gr.Accordion("Settings, speech, new conversation", open=False, elem_id="tc-more"):
        settings = _settings(visitors)
        speech = gr.HTML(_speech(None), elem_id="tc-speech")
        clear = gr.Button("New conversation about this video", size="sm", elem_id="tc-clear")
    return Parts(alert, player, timeline, frames, talk, task, question, ask, stop, speech, clear, settings)


def _settings(visitors: Visitors) -> list[Any]:
    model = visitors.model
    least, most, usual = ANSWER_TOKENS
    alpha = model.lora_alpha
    return [
        gr.Slider(1, model.most_frames, model.frames, step=1, label="Frames sampled from the video"),
        gr.Slider(0, MOST_TEMPERATURE, 0, step=0.05, label="Temperature; 0 always takes the likeliest word"),
        gr.Slider(least, most, usual, step=16, label="Longest answer, in tokens"),
        gr.Slider(
            0,
            2 * (alpha or 1),
            alpha or 0,
            step=1,
            label="LoRA alpha: how much what was trained last counts",
            visible=alpha is not None,
        ),
    ]


def _speech(name: str | None) -> str:
    kinds = ",".join(SPEECH_SUFFIXES)
    label = (
        '<label class="tc-link"><input type="file" class="tc-file" data-action="hear" '
        f'accept="{kinds}" aria-label="Add speech">Add speech ({kinds.replace(",", ", ")})</label>'
    )
    if name is None:
        return f'<div class="tc-speech">{label}</div>'
    away = '<button type="button" class="tc-drop-speech" data-action="unhear">without it</button>'
    return f'<div class="tc-speech"><span>Speech: {html.escape(name)}</span>{away}{label}</div>'


# What happens ---------------------------------------------------------------------------------------------------------


def _connect(page: Any, parts: Parts, visitors: Visitors, suggestions: tuple[str, ...]) -> None:
    """Tie events to what they do. Their functions are no interface for programs: `timechat serve` is."""
    hidden: dict[str, Any] = {"api_visibility": "private"}
    bridge = gr.HTML("", js_on_load=BRIDGE, elem_id="tc-bridge", visible="hidden")
    changed = [parts.alert, parts.player, parts.frames, parts.timeline, parts.talk, parts.question, parts.speech]
    bridge.submit(
        _told(visitors, suggestions),
        [parts.settings[0]],
        changed,
        show_progress="hidden",
        concurrency_limit=4,
        **hidden,
    )
    for asked in (parts.ask.click, parts.question.submit):
        begun = asked(
            _beginning(visitors),
            [parts.question, parts.task],
            [parts.talk, parts.alert, parts.question, parts.ask, parts.stop],
            show_progress="hidden",
            queue=False,
            **hidden,
        )
        answered = begun.success(
            _answering(visitors),
            [*parts.settings],
            [parts.talk, parts.timeline, parts.frames, parts.ask, parts.stop],
            show_progress="hidden",
            concurrency_limit=1,  # one model: the others wait in the order in which they came
            concurrency_id="model",
            **hidden,
        )
        answered.failure(_refusing(visitors), None, [parts.talk, parts.ask, parts.stop], queue=False, **hidden)
    parts.stop.click(_stopping(visitors), None, None, queue=False, **hidden)
    parts.clear.click(_clearing(visitors, suggestions), None, [parts.talk, parts.timeline, parts.alert], **hidden)
    page.unload(_losing(visitors))


def _told(visitors: Visitors, suggestions: tuple[str, ...]) -> Callable[..., list[Any]]:
    """What `player.js` tells: a file to open or to hear, a suggestion that was pressed, words about a failure."""

    def told(frames: float, event: gr.EventData, request: gr.Request) -> list[Any]:
        visitor = visitors.get(_name(request))
        data = event._data or {}
        action, token, text = (str(data.get(key, "")) for key in ("action", "token", "text"))
        same = gr.skip()
        alert, player, strip, timeline, talk, question, speech = "", same, same, same, same, same, same
        try:
            if action == "open":
                visitor.open(token, int(frames))
                player = markup.player(visitor.media, visitors.uploads.max_bytes, visitor.token)
                strip, timeline, talk = markup.frames(visitor.video), "", markup.conversation([], suggestions)
                speech = _speech(None)
            elif action == "hear":
                count = visitor.hear(token)
                alert = markup.note(f"{count} sentences go before the next question.")
                speech = _speech(visitor.speech.name if visitor.speech else None)
            elif action == "unhear":
                visitor.forget_speech()
                speech = _speech(None)
            elif action == "suggest":
                question = text
            else:
                alert = markup.alert(text)
        except Exception as error:
            alert = markup.alert(in_words(error))
        return [alert, player, strip, timeline, talk, question, speech]

    return told


def _beginning(visitors: Visitors) -> Callable[..., Any]:
    def begin(question: str, task: str, request: gr.Request) -> Any:
        visitor = visitors.get(_name(request))
        try:
            visitor.begin(question, task or None)
        except PageError as error:
            # Nothing is to follow: gradio's way to say so is an error, which would be drawn above the page.
            return [gr.skip(), markup.alert(str(error)), gr.skip(), gr.skip(), gr.skip()]
        talk = markup.conversation(visitor.exchanges)
        return [talk, "", "", gr.update(visible=False), gr.update(visible=True)]

    return begin


def _answering(visitors: Visitors) -> Callable[..., Iterator[list[Any]]]:
    def answer(frames: float, temperature: float, length: float, alpha: float, request: gr.Request) -> Iterator[Any]:
        visitor = visitors.get(_name(request))
        own = visitors.model.lora_alpha
        settings = Settings(int(frames), temperature, None if own is None or alpha == own else alpha, int(length))
        before, exchange = visitor.video, None
        for growing in visitor.answer(settings):
            exchange = growing
            yield [markup.conversation(visitor.exchanges), *[gr.skip()] * 4]
        line, strip = gr.skip(), gr.skip()
        if exchange in visitor.exchanges:  # else the conversation was cleared, or another video opened
            line = _timeline(visitor, exchange)
            strip = strip if visitor.video is before else markup.frames(visitor.video)
        yield [gr.skip(), line, strip, gr.update(visible=True), gr.update(visible=False)]

    return answer


def _refusing(visitors: Visitors) -> Callable[[gr.Request], list[Any]]:
    """So many questions wait that gradio takes no more."""

    def refuse(request: gr.Request) -> list[Any]:
        visitor = visitors.get(_name(request))
        visitor.give_up("Too many questions are waiting for the model. Ask again in a while.")
        return [markup.conversation(visitor.exchanges), gr.update(visible=True), gr.update(visible=False)]

    return refuse


def _timeline(visitor: Visitor, exchange: Exchange | None) -> str:
    return markup.timeline(exchange, visitor.video.duration if visitor.video else 0.0)


def _stopping(visitors: Visitors) -> Callable[[gr.Request], None]:
    def stop(request: gr.Request) -> None:
        visitors.get(_name(request)).stop()

    return stop


def _clearing(visitors: Visitors, suggestions: tuple[str, ...]) -> Callable[[gr.Request], list[str]]:
    def clear(request: gr.Request) -> list[str]:
        visitors.get(_name(request)).clear()
        return [markup.conversation([], suggestions), "", ""]

    return clear


def _losing(visitors: Visitors) -> Callable[[gr.Request], None]:
    def lose(request: gr.Request) -> None:
        visitors.lose(_name(request))

    return lose


def _name(request: gr.Request) -> str:
    """What the browser's page calls itself; a random word that it makes when it is opened."""
    return str(request.session_hash)
