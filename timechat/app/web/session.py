"""What the page knows of a visitor: the video, the conversation about it, and the answer that is being written."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from timechat.app.answer import Answer
from timechat.app.chat import Chat
from timechat.app.stream import AnswerStream
from timechat.app.web import errors
from timechat.app.web.errors import PageError
from timechat.app.web.model import SharedModel, is_image
from timechat.app.web.uploads import SEEN_SUFFIXES, Media, Uploads
from timechat.datasets.video import Video
from timechat.errors import TimeChatError
from timechat.evaluation.transcripts import SUFFIXES as SPEECH_SUFFIXES
from timechat.evaluation.transcripts import read_transcript

# Far more than models read; without a limit, one visitor's question could hold up the model for all.
MOST_CHARACTERS = 10_000
REDRAW_S = 0.06  # between two pictures of an answer that grows; a fast model writes far more tokens than eyes can read


@dataclass(frozen=True)
class Settings:
    """How an answer is written.

    Attributes:
        frames: how many are sampled from the video, at most.
        temperature: 0 is greedy.
        lora_alpha: scale of the adapters; None is the config's.
        max_new_tokens: longest answer.
    """

    frames: int
    temperature: float = 0.0
    lora_alpha: float | None = None
    max_new_tokens: int = 256


@dataclass
class Exchange:
    """A question and its answer.

    Attributes:
        question, task: as asked.
        text: of the answer, as far as it is written.
        answer: when it is whole.
        problem: in words, why there is none.
        stopped: whether the visitor ended it.
        token: its name in addresses.
    """

    question: str
    task: str | None
    text: str = ""
    answer: Answer | None = None
    problem: str = ""
    stopped: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def ended(self) -> bool:
        """Whether nothing will be added to it."""
        return self.answer is not None or bool(self.problem)


class Visitor:
    """One open page.

    Args:
        model: answers; shared with other visitors.
        uploads: keeps files; this visitor's own are removed from it when they are no longer needed.
        max_minutes: the longest video.

    Attributes:
        token: its name in addresses.
        media: what is asked about.
        video: its frames as the model sees them.
        speech: what is said in it.
        exchanges: the conversation, oldest first.
    """

    def __init__(self, model: SharedModel, uploads: Uploads, max_minutes: float):
        self.model, self.uploads, self.max_minutes = model, uploads, max_minutes
        self.token = secrets.token_urlsafe(16)
        self.media: Media | None = None
        self.video: Video | None = None
        self.speech: Media | None = None
        self.exchanges: list[Exchange] = []
        self._chat: Chat | None = None
        self._frames = model.frames
        self._told = ""  # token of the speech that the conversation has
        self._stream: AnswerStream | None = None
        self._stopping = False
        self._lock = threading.Lock()

    # Files ------------------------------------------------------------------------------------------------------------

    def open(self, token: str, frames: int) -> None:
        """Look at another video or image; the one before and its conversation are forgotten once this one is read.

        Raises:
            PageError: it is gone, cannot be read, or is too long; the one before stays.
        """
        media = self.uploads.claim(token)
        with self._trying(media):
            if media.path.suffix.lower() not in SEEN_SUFFIXES:
                raise PageError(f"{media.name} is not a video. Add speech under Settings.")
            video = self._read(media, frames)
        self.stop()
        with self._lock:
            before = self.media
            self.media, self.video, self._frames, self._chat = media, video, frames, None
        if before and before is not media:
            self.uploads.remove(before)
        self.clear()
        self.forget_speech()

    def hear(self, token: str) -> int:
        """Put what a transcript says before the next question; returns how many sentences there are.

        Raises:
            PageError: it is gone or cannot be read.
        """
        media = self.uploads.claim(token)
        with self._trying(media):
            if media.path.suffix not in SPEECH_SUFFIXES:
                raise PageError(f"{media.name} is not a transcript: {', '.join(SPEECH_SUFFIXES)} are.")
            sentences = read_transcript(media.path)
            if not sentences:
                raise PageError(f"{media.name} has no sentence in it.")
            if max(len(sentence.text) for sentence in sentences) > MOST_CHARACTERS:
                raise PageError(f"{media.name} has a sentence of more than {MOST_CHARACTERS} characters.")
        self.forget_speech()
        self.speech = media
        return len(sentences)

    def forget_speech(self) -> None:
        """Later questions go without speech."""
        if self.speech:
            self.uploads.remove(self.speech)
        self.speech, self._told = None, ""

    @contextlib.contextmanager
    def _trying(self, media: Media) -> Iterator[None]:
        """Remove a new file that turns out to be of no use; errors speak of it by the visitor's name."""
        try:
            yield
        except BaseException as error:
            if media is not self.media:
                self.uploads.remove(media)
            if isinstance(error, TimeChatError):
                raise PageError(errors.in_words(error, media.path, media.name)) from error
            raise

    # Asking -----------------------------------------------------------------------------------------------------------

    def begin(self, question: str, task: str | None) -> None:
        """Put a question into the conversation, to be answered by `answer`. Raises PageError."""
        if self.media is None:
            raise PageError(errors.NO_VIDEO)
        if self.exchanges and not self.exchanges[-1].ended:
            raise PageError("An answer is still being written. Stop it, or wait for its end.")
        if not question.strip() and task != "caption":
            raise PageError(errors.NOTHING_TO_FIND if task else errors.NO_QUESTION)
        if len(question) > MOST_CHARACTERS:
            raise PageError(f"This question has {len(question)} characters; this page takes up to {MOST_CHARACTERS}.")
        self._stopping = False
        self.exchanges.append(Exchange(question.strip(), task))

    def answer(self, settings: Settings) -> Iterator[Exchange]:
        """Answer the question of `begin`; gives its exchange again and again while it grows, at last as a whole.

        What goes wrong becomes the exchange's problem.
        """
        if not self.exchanges or self.exchanges[-1].ended:
            return
        exchange = self.exchanges[-1]
        try:
            yield from self._write(exchange, settings)
        except Exception as error:
            media = self.media
            exchange.problem = errors.in_words(error, media.path if media else "", media.name if media else "")
        finally:
            self._stream = None
            if not exchange.ended:
                exchange.problem = "The page was closed, or the connection to it was lost. Ask again."
        yield exchange

    def _write(self, exchange: Exchange, settings: Settings) -> Iterator[Exchange]:
        if self._stopping:
            raise PageError("Stopped before the model had time for it.")
        yield exchange
        chat = self._conversation(settings.frames)
        speech = self.speech if self.speech and self.speech.token != self._told else None
        with chat.stream(
            exchange.question,
            task=exchange.task,
            asr=speech.path if speech else None,
            max_new_tokens=settings.max_new_tokens,
            do_sample=settings.temperature > 0,
            temperature=settings.temperature or 1.0,
            lora_alpha=settings.lora_alpha,
        ) as stream:
            self._stream = stream
            if self._stopping:
                stream.stop()
            shown = 0.0
            for piece in stream:
                exchange.text += piece
                if time.monotonic() - shown > REDRAW_S:
                    shown = time.monotonic()
                    yield exchange
        exchange.stopped = self._stopping and not stream.ended
        exchange.answer = stream.answer
        if exchange not in self.exchanges:  # the conversation was cleared meanwhile
            chat.clear()
        self._told = speech.token if speech else self._told

    def _conversation(self, frames: int) -> Chat:
        """The conversation about the video, which is encoded again only if another number of frames is wanted."""
        media = self.media
        if media is None:
            raise PageError(errors.NO_VIDEO)
        if frames != self._frames and not is_image(media.path):
            self.video, self._frames = self._read(media, frames), frames
            turns = self._chat.turns if self._chat else []
            self._chat = None
        else:
            turns = []
        if self._chat is None:
            seen = media.path if is_image(media.path) or self.video is None else self.video
            self._chat = Chat(self.model, seen)
            self._chat.turns.extend(turns)
        return self._chat

    def _read(self, media: Media, frames: int) -> Video:
        video = self.model.decode(media.path, frames)
        if video.duration > self.max_minutes * 60:
            raise PageError(
                f"{media.name} lasts {video.duration / 60:.0f} minutes; this page takes videos of up to "
                f"{self.max_minutes:g}. Cut out the part that you want to ask about."
            )
        return video

    def stop(self) -> None:
        """End the answer that is being written; what is there stays."""
        self._stopping = True
        if self._stream:
            self._stream.stop()

    def give_up(self, problem: str) -> None:
        """The question of `begin` will not be answered."""
        if self.exchanges and not self.exchanges[-1].ended:
            self.exchanges[-1].problem = problem

    def clear(self) -> None:
        """Forget the conversation; the video stays, and need not be encoded again."""
        self.stop()
        self.exchanges = []
        self._told = ""
        if self._chat:
            self._chat.clear()

    def close(self) -> None:
        """The page was closed: free the model, and remove the files."""
        self.stop()
        self.forget_speech()
        if self.media:
            self.uploads.remove(self.media)
        self.media = self.video = self._chat = None
        self.exchanges = []
