"""What exported and saved models are compared by: tensors, scores of a text, answers."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from helpers.tiny import Golden
from timechat.models import TimeChat
from timechat.models.checkpoints import canonical_name

State = dict[str, Tensor]


def state_of(model: nn.Module) -> State:
    """A copy of all tensors by published name."""
    return {canonical_name(name): tensor.clone() for name, tensor in model.state_dict().items()}


def differing(one: State, other: State) -> list[str]:
    """Names that are not in both with equal dtype and bits."""
    same = {n for n in one.keys() & other.keys() if one[n].dtype == other[n].dtype and torch.equal(one[n], other[n])}
    return sorted((one.keys() | other.keys()) - same)


def scores(llama: nn.Module) -> Tensor:
    """Scores of a fixed text."""
    with torch.no_grad():
        return llama(input_ids=torch.arange(1, 41).reshape(2, 20)).logits


def plain(folder: str | Path) -> transformers.LlamaForCausalLM:
    """What users of Hugging Face do, without peft."""
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype="auto").eval()


def answers(model: TimeChat, golden: Golden) -> list[str]:
    """Greedy answers about the two golden videos."""
    prompts = ["When does the chef cut the bread?", "Describe the video."]
    return model.generate(golden.videos(), golden.expected["timestamps"], prompts, max_new_tokens=12)


def names_in(folder: Path) -> list[str]:
    """Files and folders, in order."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
