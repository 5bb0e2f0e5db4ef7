"""`python -m helpers.talking VERB ...`: the command timechat, with a model that says one word after another.

Asked for "captions", it says `CAPTIONS`; otherwise it goes on for minutes, unless it is stopped.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from timechat import cli
from timechat.models import TimeChat
from timechat.models.watching import PartialAnswer

CAPTIONS = "3.0 - 5.0 seconds, cut the bread. 7.0 - 9.5 seconds, fry it."
MODEL = ["--model", str(TINY / "config.yaml"), "--device", "cpu"]
OPTIONS = ["--options", f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]


def answer(self: TimeChat, videos: Any, seconds: Any, prompts: list[str], watch: Any, **options: Any) -> list[str]:
    """In the place of the model's own."""
    words = CAPTIONS.split() if "captions" in prompts[0] else [f"word{number}" for number in range(3000)]
    for count in range(1, len(words) + 1):
        text = " ".join(words[:count])
        if watch([PartialAnswer(text, count, False)])[0]:
            break
        time.sleep(0.02)
    return [text]


if __name__ == "__main__":
    TimeChat.answer = answer  # type: ignore[method-assign]
    sys.exit(cli.main([*sys.argv[1:], *MODEL, *OPTIONS]))
