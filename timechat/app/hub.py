"""Saved models: a folder, or a repository of the Hugging Face hub, laid out as `timechat/model_folder.py` says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import PyTorchModelHubMixin, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from omegaconf import DictConfig

from timechat.config import IMPORT, load_config
from timechat.errors import ConfigError
from timechat.model_folder import CONFIG, INDEX, PICKLES, WEIGHTS
from timechat.models import BaseModel, must_answer
from timechat.models.export import build_saved, check_precision, temporary_folder, write_model

if TYPE_CHECKING:
    from typing_extensions import Self

CARD = "README.md"
MODEL_CARD = """---
{{ card_data }}
---

# TimeChat

A language model that answers questions about videos, with times in seconds.

```python
import timechat

model = timechat.load("{{ repo_id | default("path/to/this/folder", true) }}")
answer = model.ask("v.mp4", "When does she crack the egg?")
print(answer, answer.segments)
```

The folder holds everything that the model needs: its config, all weights as safetensors, the decoder below LoRA as a
Hugging Face LLaMA in `llama/`, and the vocabularies. Paper: {{ paper_url }}
"""


class HubModel(
    PyTorchModelHubMixin,
    library_name="timechat",
    pipeline_tag="video-text-to-text",
    tags=["video", "temporal-grounding", "dense-video-captioning"],
    paper_url="https://arxiv.org/abs/2312.02051",
    model_card_template=MODEL_CARD,
):
    """A model with `save_pretrained`, `from_pretrained` and `push_to_hub`.

    Args:
        cfg: the whole config.
        model: what its section `model` describes.
        device: see `VideoLanguageModel`.
    """

    def __init__(self, cfg: DictConfig, model: BaseModel, device: str | None = None):
        self.cfg, self.model = cfg, model

    @classmethod
    def from_pretrained(  # type: ignore[override]  # without the arguments that a model's config would overrule
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        options: Sequence[str] = (),
        device: str | None = None,
    ) -> Self:
        """Load what `save_pretrained` or `push_to_hub` wrote; every tensor must be there, and no other one.

        Args:
            pretrained_model_name_or_path: a folder, else the id of a repository on the hub.
            force_download, token, cache_dir, local_files_only, revision: of a download, as for huggingface_hub.
            options: overrides of the config, such as `model.llama_precision=fp16`.
            device: see `VideoLanguageModel`.

        Raises:
            ConfigError, CheckpointError: naming the file that is missing, damaged, hostile or does not fit.
        """
        source = str(pretrained_model_name_or_path)
        folder = Path(source)
        if not folder.is_dir():
            folder = _download(
                source,
                force_download=force_download,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                revision=revision,
            )
        cfg = load_config(folder, options)
        must_answer(cfg.model)
        return cls(cfg, build_saved(cfg.model, source), device)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write the whole model into a folder, and upload it if wanted.

        The folder may be there: an earlier model in it is replaced, once the new one is complete; `README.md` and other
        files stay.

        Args:
            save_directory: the folder.
            config: accepted because huggingface_hub passes it; the model's own config is what is written.
            repo_id: for `push_to_hub`; by default the folder's name.
            push_to_hub: whether to upload it.
            model_card_kwargs: what the template of `README.md` is filled with.
            push_to_hub_kwargs: as for `push_to_hub`.

        Returns:
            The address of the commit, if it was uploaded.

        Raises:
            ConfigError: a model that cannot be saved, or a file in the place of the folder.
            CheckpointError: the folder cannot be written.
        """
        check_precision(self.cfg.model)
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: is a file; name a folder")
        card = {"repo_id": repo_id, **(model_card_kwargs or {})}
        with temporary_folder(folder.resolve()) as new:
            super().save_pretrained(new, model_card_kwargs=card)
            _move(new, folder)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or folder.name, model_card_kwargs=model_card_kwargs, **push_to_hub_kwargs)

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **options: Any) -> str:
        """Upload the whole model; returns the address of the commit.

        Args:
            repo_id: `organization/name`; the repository is made if it is not there.
            model_card_kwargs: what the template of `README.md` is filled with.
            options: `commit_message`, `private`, `token`, `branch`, `create_pr`, ..., as for huggingface_hub.
        """
        return super().push_to_hub(
            repo_id, model_card_kwargs={"repo_id": repo_id, **(model_card_kwargs or {})}, **options
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        """Weights, config and all other files; called by the mixin."""
        write_model(self.model, save_directory, list(self.cfg[IMPORT]))


def _download(repo_id: str, **options: Any) -> Path:
    """The folder of a repository in the hub's cache, downloaded unless it is there. Raises ConfigError."""
    try:
        hf_hub_download(repo_id, CONFIG, **options)  # first: without it the rest, perhaps many GB, is of no use
        return Path(snapshot_download(repo_id, ignore_patterns=[f"*{suffix}" for suffix in PICKLES], **options))
    except LocalEntryNotFoundError as error:
        raise ConfigError(
            f"{repo_id}: no such file or folder, and the hub cannot be reached for a repository of that name, which is "
            "not in its cache either; correct the name, or connect"
        ) from error
    except EntryNotFoundError as error:
        raise ConfigError(
            f"{repo_id}: this repository has no {CONFIG}, so it is not a model that TimeChat saved; a checkpoint in it "
            "can be named in a YAML file, as model.ckpt"
        ) from error
    except Exception as error:  # the hub's client has many, and its transport others
        raise ConfigError(
            f"{repo_id}: no such file or folder, and no model on the hub that can be had "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''})"
        ) from error


def _move(new: Path, folder: Path) -> None:
    """Put a model in the place of an earlier one; `config.json` comes last, so that half a model has none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    for old in (folder / WEIGHTS, folder / INDEX, *folder.glob("model-*-of-*.safetensors")):
        old.unlink(missing_ok=True)
    for entry in sorted(new.iterdir(), key=lambda path: path.name == CONFIG):
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        if entry.name != CARD or not target.exists():
            os.replace(entry, target)
