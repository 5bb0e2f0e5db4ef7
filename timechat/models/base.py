"""The interface of models for training, loading and measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.errors import ConfigError
from timechat.models.checkpoints import LoadReport, load_configured_weights


@dataclass(frozen=True)
class StepSize:
    """What a micro-batch consists of.

    Attributes:
        videos: how many.
        frames: of each video.
        tokens: of each conversation, including those of the video; 0 without a decoder.
        supervised: tokens of each conversation that the loss sees.
    """

    videos: int
    frames: int
    tokens: int = 0
    supervised: int = 0


class BaseModel(nn.Module):
    """Base of all models. A subclass creates its modules in `build` and computes the loss in `forward`.

    Args:
        cfg: the `model` section of a config, with defaults.
        load_weights: False skips every weight file.

    Attributes:
        load_reports: what became of every key of every weight file.

    Raises:
        ConfigError: settings that contradict each other, or a missing folder.
        CheckpointError: a weight file that is missing or does not fit.
    """

    def __init__(self, cfg: DictConfig, load_weights: bool = True):
        super().__init__()
        self.cfg = cfg
        self.build(load_weights)
        self.freeze()
        self.load_reports: list[LoadReport] = load_configured_weights(self, cfg) if load_weights else []

    def build(self, load_weights: bool) -> None:
        """Create all modules with their initial weights; the files that the config names are loaded afterwards.

        Args:
            load_weights: whether modules that read their own weights (a Hugging Face folder) do so.
        """
        raise NotImplementedError(f"{type(self).__name__} must create its modules in build")

    def freeze(self) -> None:
        """Freeze the parts that the config names; nothing by default."""

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The training losses of a batch: `loss`, a scalar, and `sample_losses` [B], one for each sample.

        In evaluation mode also `sample_exact` [B], if the model can tell which answers it would have given itself.
        """
        raise NotImplementedError(f"{type(self).__name__} must compute its losses in forward")

    def leaves_out(self, name: str) -> bool:
        """Whether this published name may be in a weight file although the model lacks it; never, by default."""
        return False

    @classmethod
    def count_video_tokens(cls, cfg: DictConfig, num_frames: int) -> int:
        """How many video tokens a video of `num_frames` frames becomes, according to the `model` section.

        Raises:
            ConfigError: this model has no decoder that reads videos.
        """
        raise ConfigError(f"model.arch={cfg.arch}: has no decoder, so it cannot learn from or answer instructions")

    # Saving ---------------------------------------------------------------------------------------------------------

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write what a saved model needs besides its weights, such as a tokenizer, into its folder.

        Returns:
            Values of keys of the section that the saved config is to have. For each key that names a file, a Path
            relative to the folder, or "" where none is needed; also what the weights decide, such as a precision.
        """
        return {}

    def is_in_files(self, name: str) -> bool:
        """Whether a tensor, by its published name, is among what `write_files` writes; no by default."""
        return False

    # What the dry run, the logs, run.compile and run.liger ask ------------------------------------------------------

    def layers_to_compile(self) -> Iterable[nn.Module]:
        """The layers that do most of the work, which `run.compile` compiles one by one; none by default."""
        return ()

    def use_liger(self) -> None:
        """Replace the decoder's operations by Liger's kernels, as `run.liger` asks. Raises ConfigError: no LLaMA."""
        raise ConfigError(f"run.liger=true: {type(self).__name__} has no LLaMA with Liger's kernels; set it to false")

    def token_counts(self, seconds: Sequence[float]) -> dict[str, int]:
        """Tokens of a sample whose frames have these times, by part; empty for a model without a decoder.

        A model with a decoder must give the keys `video` and `prompt` (everything before the words of question and
        answer, including the video); other keys are printed, too.
        """
        return {}

    def flop_counter(self) -> Callable[[Any], float] | None:
        """A function that counts a batch's floating-point operations, forward and backward; None: no count.

        Called before the model is sharded or wrapped; the function must not keep references to the model's weights.
        """
        return None

    def rehearse(self, size: StepSize) -> Tensor | None:
        """A forward pass over fake tensors, from which the memory of activations is estimated.

        Fake tensors have shapes but no data, so nothing may depend on values (no boolean index, no `.item()`). None by
        default: nothing is estimated.
        """
        return None
