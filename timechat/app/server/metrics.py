"""What a server counts, for Prometheus."""

from __future__ import annotations

from timechat.errors import ConfigError

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
except ModuleNotFoundError as error:
    raise ConfigError(f"{__name__} needs prometheus-client ({error}): pip install 'timechat[serve]'") from error

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The figures of one server.

    Attributes:
        requests: finished requests by status; a client that left is `cancelled`.
        seconds: from the request to the end of its answer.
        first_words: from the request to the first words of its answer.
        prompt_tokens, answer_tokens: of questions that were answered.
        batches: answers that were written together.
        places: requests that are in the server.
        hits, misses: videos that were kept, or had to be encoded.
        cached: bytes of videos that are kept.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "timechat_requests", "Requests for answers that are over, by status of HTTP", ["status"], registry=registry
        )
        self.seconds = Histogram(
            "timechat_request_seconds", "Seconds that answered requests took", buckets=_SECONDS, registry=registry
        )
        self.first_words = Histogram(
            "timechat_first_words_seconds",
            "Seconds to the first words of an answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "timechat_prompt_tokens", "Tokens of questions, videos included", registry=registry
        )
        self.answer_tokens = Counter("timechat_answer_tokens", "Tokens of answers", registry=registry)
        self.batches = Histogram(
            "timechat_batch_size", "Answers written together", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.places = Gauge("timechat_requests_in_server", "Requests that are waiting or answered", registry=registry)
        self.hits = Counter("timechat_video_cache_hits", "Videos that were kept", registry=registry)
        self.misses = Counter("timechat_video_cache_misses", "Videos that had to be encoded", registry=registry)
        self.cached = Gauge("timechat_video_cache_bytes", "Bytes of videos that are kept", registry=registry)

    def page(self) -> tuple[bytes, str]:
        """All figures as Prometheus reads them, and the type of that text."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
