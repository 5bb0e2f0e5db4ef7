"""From a request to a job of the model: a place in the server, the video, and the question.

Everything here runs in the event loop; files are read in threads, and the model works in its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from PIL import Image
from torch import Tensor

from timechat.app.answer import Segment, find_segments
from timechat.app.api import EncodedVideo, VideoLanguageModel
from timechat.app.server.batching import Batcher, Job, Question
from timechat.app.server.cache import Key, VideoCache
from timechat.app.server.errors import RequestError, invalid
from timechat.app.server.metrics import Metrics
from timechat.app.server.schema import ChatRequest, MediaLink
from timechat.app.server.settings import MEGABYTE, ServerSettings
from timechat.app.server.videos import MediaFile, MediaFiles, stamp_of
from timechat.config import frame_sampling
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.readers.guard import check_video
from timechat.datasets.video import load_image, load_video
from timechat.errors import ConfigError, VideoError
from timechat.models import TimeChat

logger = logging.getLogger(__name__)

Frames = tuple[Tensor, list[float] | None]
_HEADER_TIMEOUT_S = 30.0


class Service:
    """What answers requests.

    Args:
        model: answers.
        settings: limits and permissions.

    Attributes:
        settings: as given.
        metrics: what is counted.

    Raises:
        ConfigError: the model's answers cannot be watched, or a setting is not possible.
    """

    def __init__(self, model: VideoLanguageModel, settings: ServerSettings):
        if not isinstance(model.model, TimeChat):
            raise ConfigError(
                f"model.arch={model.cfg.model.arch}: a server counts tokens and watches answers, which a model that is "
                "not a TimeChat does not offer"
            )
        self.settings, self.metrics = settings, Metrics()
        self._model, self._timechat = model, model.model
        self._places, self._batch_seconds = 0, 1.0
        self._folder = tempfile.TemporaryDirectory(prefix="timechat-serve-")
        self.files = MediaFiles(settings, Path(self._folder.name))
        self._cache = VideoCache(settings.cache_mb * MEGABYTE)
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        # One process reads all videos; the second thread prepares the next file meanwhile.
        self._readers = ThreadPoolExecutor(2, "timechat-reader")
        self._batcher = Batcher(
            model, max_batch=settings.max_batch, window_s=settings.window_ms / 1000, on_batch=self._count_batch
        )

    def start(self) -> None:
        """Begin to work."""
        self._batcher.start()

    @property
    def running(self) -> bool:
        """Whether the model's thread works."""
        return self._batcher.running

    def stop(self) -> None:
        """Finish what is there, and remove all files."""
        self._batcher.stop()
        self._readers.shutdown(cancel_futures=True)
        self._folder.cleanup()

    # A place ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the server for one request.

        Raises:
            RequestError: 429, when all are taken.
        """
        if self._places >= self.settings.max_queue:
            batches = math.ceil(self._places / self.settings.max_batch)
            raise RequestError(
                429,
                f"{self._places} requests are waiting or being answered, the most that this server takes; come again",
                code="queue_full",
                retry_after=max(1, math.ceil(batches * self._batch_seconds)),
            )
        self._take(1)
        try:
            yield
        finally:
            self._take(-1)

    def _take(self, number: int) -> None:
        self._places += number
        self.metrics.places.set(self._places)

    def _count_batch(self, size: int, seconds: float) -> None:
        self.metrics.batches.observe(size)
        self._batch_seconds += 0.2 * (seconds - self._batch_seconds)

    # The video --------------------------------------------------------------------------------------------------------

    async def see(self, link: MediaLink) -> EncodedVideo:
        """The video of a request, encoded; once, whoever asks for it meanwhile.

        Raises:
            RequestError: it is not allowed, too large, too long, or cannot be read.
        """
        async with self.files.open(link) as file:
            key = (link.kind, file.digest)
            lock = self._locks.setdefault(key, asyncio.Lock())
            async with lock:
                video = self._cache.get(key)
                (self.metrics.misses if video is None else self.metrics.hits).inc()
                if video is None:
                    video = await self._encoded(link, file)
                    self._cache.put(key, video)
                    self.metrics.cached.set(self._cache.size)
        return video

    async def _encoded(self, link: MediaLink, file: MediaFile) -> EncodedVideo:
        decode = self._decode_video if link.kind == "video" else self._decode_image
        loop = asyncio.get_running_loop()
        try:
            frames, seconds = await loop.run_in_executor(self._readers, decode, link, file.path)
        except VideoError as error:
            reason = error.reason.replace(str(file.path), "the file")  # where it is concerns nobody else
            raise invalid(link.param, reason, "unreadable_media") from error
        if stamp_of(file.path) != file.stamp:
            raise invalid(link.param, "changed while it was read; ask again", "unreadable_media")

        def encode() -> EncodedVideo:
            return EncodedVideo(self._model.encode_video([frames], [seconds])[0], seconds)

        return await asyncio.wrap_future(self._batcher.run(encode))

    def _decode_video(self, link: MediaLink, path: Path) -> Frames:
        model = self._model.cfg.model
        header = check_video(str(path), "header", model.video_timeout_s or _HEADER_TIMEOUT_S)
        if header.seconds > self.settings.max_seconds:
            raise invalid(
                link.param,
                f"{header.seconds:.0f} seconds long; this server takes {self.settings.max_seconds:g}",
                "video_too_long",
            )
        self._check_size(link, header.width, header.height)
        video = load_video(path, **frame_sampling(model), settings=ReaderSettings.of(model))
        return video.frames, video.seconds

    def _decode_image(self, link: MediaLink, path: Path) -> Frames:
        try:
            with Image.open(path) as image:
                size = image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(str(path), "cannot be read as an image; it may be damaged") from error
        self._check_size(link, *size)
        return load_image(path, image_size=self._model.cfg.model.image_size).frames, None

    def _check_size(self, link: MediaLink, width: int, height: int) -> None:
        if width * height > self.settings.max_pixels:
            raise invalid(
                link.param,
                f"{width} x {height} pixels; this server takes {self.settings.max_pixels} in all",
                "picture_too_large",
            )

    # The question -----------------------------------------------------------------------------------------------------

    def ask(self, request: ChatRequest, video: EncodedVideo, on_change: Callable[[], object]) -> tuple[Job, int]:
        """Put a question to the model; the job, and how many tokens it was asked.

        Raises:
            RequestError: 422, the conversation is longer than the model reads.
        """
        prompt = self._model.prompt(request.question, request.task)
        count = len(
            self._timechat.prompt_ids(len(video.embeddings), video.seconds, prompt, request.history, request.system)
        )
        longest = int(self._model.cfg.model.max_txt_len)
        most = request.max_tokens or min(self.settings.max_new_tokens, longest - count)
        if most < 1 or count + most > longest:
            raise invalid(
                "messages",
                f"{count} tokens, the video's among them, and an answer of {max(1, most)}: more than the {longest} "
                "that this model reads; shorten the conversation, or lower max_tokens",
                "context_length_exceeded",
            )
        question = Question(video, prompt, request.history, request.system, most, request.sampling, request.stop)
        job = Job(question, on_change)
        self._batcher.submit(job)
        return job, count

    def segments(self, request: ChatRequest, text: str) -> list[Segment]:
        """The parts of the video that an answer names."""
        prompt = self._model.prompt(request.question, request.task)
        return find_segments(text, request.question, request.task, prompt)
