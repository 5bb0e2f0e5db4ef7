"""Videos that were encoded, kept by what is in their files, within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict

from timechat.app.api import EncodedVideo

Key = tuple[str, str]  # video or image, and the SHA-256 of the file


class VideoCache:
    """The videos that were asked about last.

    Args:
        capacity: bytes of embeddings that are kept; the oldest ones go first.

    Attributes:
        size: bytes that are in use.
    """

    def __init__(self, capacity: int):
        self.capacity, self.size = capacity, 0
        self._videos: OrderedDict[Key, EncodedVideo] = OrderedDict()

    def get(self, key: Key) -> EncodedVideo | None:
        """A video, which becomes the newest; None if it is not here."""
        if key in self._videos:
            self._videos.move_to_end(key)
        return self._videos.get(key)

    def put(self, key: Key, video: EncodedVideo) -> None:
        """Keep a video; one that is larger than everything that may be kept is not."""
        needed = _bytes(video)
        if key in self._videos or needed > self.capacity:
            return
        self._videos[key] = video
        self.size += needed
        while self.size > self.capacity:
            _, oldest = self._videos.popitem(last=False)
            self.size -= _bytes(oldest)

    def __len__(self) -> int:
        return len(self._videos)


def _bytes(video: EncodedVideo) -> int:
    """What a video occupies: the whole memory that its tensor keeps, and an object for each time."""
    return video.embeddings.untyped_storage().nbytes() + 32 * len(video.seconds or ())
