"""A conversation about one video, which is decoded and encoded once.

chat = Chat(model, "v.mp4")
print(chat.ask("What does she cook?"))
for piece in chat.stream("When does she crack the egg?"):
    print(piece, end="", flush=True)
"""

from __future__ import annotations

from typing import Any

from timechat.app.answer import Answer
from timechat.app.api import VideoLanguageModel, VideoLike
from timechat.app.stream import AnswerStream
from timechat.errors import ConfigError
from timechat.models import TimeChat
from timechat.text.conversation import Turn


class Chat:
    """Questions about one video, each of which the model reads together with the earlier ones and their answers.

    Args:
        model: answers.
        video: as for `VideoLanguageModel.encode`.
        system: the system sentence; by default the config's.

    Attributes:
        video: what the model has seen.
        turns: what was asked, as it was put to the model, and answered; oldest first.

    Raises:
        VideoError, ConfigError: as for `VideoLanguageModel.encode`.
    """

    def __init__(self, model: VideoLanguageModel, video: VideoLike, system: str | None = None):
        self.model, self.system = model, system
        self.video = model.encode(video)
        self.turns: list[Turn] = []

    def ask(self, question: str = "", **options: Any) -> Answer:
        """Ask; options and errors as of `VideoLanguageModel.ask`."""
        with self.stream(question, **options) as stream:
            return stream.answer

    def stream(self, question: str = "", **options: Any) -> AnswerStream:
        """Ask, and read the answer while it is written; it becomes a turn when it has been read to its end.

        Options and errors as of `VideoLanguageModel.ask`; and ConfigError, when the conversation has become longer than
        the model reads.
        """
        prompt = self.model.prompt(question, options.get("task"), options.get("asr"))
        if self.turns:
            self._must_fit(prompt)
        stream = self.model.stream(self.video, question, system=self.system, history=tuple(self.turns), **options)
        stream.on_end = lambda answer: self.turns.append((prompt, answer.text))
        return stream

    def _must_fit(self, prompt: str) -> None:
        """Raises ConfigError, if nothing is left of the decoder's context. Only a TimeChat says how long that is."""
        model, video = self.model.model, self.video
        if not isinstance(model, TimeChat):
            return
        count = len(model.prompt_ids(len(video.embeddings), video.seconds, prompt, self.turns, self.system))
        longest = model.cfg.max_txt_len
        if count >= longest:
            raise ConfigError(
                f"the conversation has {count} tokens, the video's among them, and the model reads model.max_txt_len="
                f"{longest}; begin a new one about this video"
            )

    def clear(self) -> None:
        """Forget what was asked; the video stays."""
        self.turns.clear()
