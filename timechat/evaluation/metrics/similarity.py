"""Similarity of sentences: the cosine of what an encoder of sentence-transformers makes of them.

    pip install 'timechat[similarity]'

The encoder is loaded when it is first needed. Where it is not there, nothing is scored with it, and `why_missing` says
what to install; a score is left out then, never 0.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import ConfigError

logger = logging.getLogger(__name__)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
INSTALL = "pip install 'timechat[similarity]'"

# Sentences -> embeddings of length 1, float [sentences, width].
Encoder = Callable[[Sequence[str]], NDArray[Any]]


class SentenceSimilarity:
    """How alike sentences are, from -1 to 1.

    Args:
        model: a hub id or a folder of a sentence-transformers model.

    Raises:
        ConfigError: a path that is no folder.
    """

    def __init__(self, model: str = MINILM):
        path = Path(model).expanduser()
        if model.startswith(("/", ".", "~")) and not path.is_dir():
            raise ConfigError(f"sentence_model={model}: no such folder; give a folder with a model, or a hub id")
        self._model = str(path) if path.is_dir() else model
        self._encoder: Encoder | None = None
        self._reason: str | None = None  # None until it was tried, "" where there is an encoder

    @property
    def why_missing(self) -> str:
        """Why there is no encoder and what to do, in words; empty where there is one. Loads it."""
        if self._reason is None:
            try:
                self._encoder, self._reason = load_encoder(self._model), ""
            except ConfigError as error:
                self._reason = str(error)
                logger.warning("no similarity of sentences: %s", error)
        return self._reason

    def of_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The cosine of each pair; every sentence is encoded once. Raises ConfigError: no encoder."""
        sentences = sorted({sentence for pair in pairs for sentence in pair})
        embedded = dict(zip(sentences, self._encode(sentences), strict=True))
        return [float(embedded[first] @ embedded[second]) for first, second in pairs]

    def nearest(self, sentence: str, others: Sequence[str]) -> int:
        """Index of what is most like the sentence; the first one of equals. Raises ConfigError: no encoder."""
        return int(np.argmax(self.of_pairs([(sentence, other) for other in others])))

    def _encode(self, sentences: Sequence[str]) -> NDArray[Any]:
        if self.why_missing or self._encoder is None:
            raise ConfigError(self.why_missing)
        return self._encoder(sentences) if sentences else np.zeros((0, 1))


def load_encoder(model: str) -> Encoder:
    """An encoder on the CPU.

    Args:
        model: a hub id or a folder.

    Raises:
        ConfigError: sentence-transformers is not installed, or the model cannot be loaded.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ConfigError(f"similarity of sentences needs sentence-transformers: {INSTALL}")
    from sentence_transformers import SentenceTransformer

    try:
        encoder = SentenceTransformer(model, device="cpu")
    except Exception as error:  # what a download, a folder or a weight file can raise is no short list
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{model} cannot be loaded ({first}); name a folder that holds the model") from error

    def encode(sentences: Sequence[str]) -> NDArray[Any]:
        return np.asarray(encoder.encode(list(sentences), normalize_embeddings=True, show_progress_bar=False))

    return encode
