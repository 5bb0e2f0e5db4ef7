"""Which model answers where none is named, and what to do where its weights are not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timechat.config import load_config
from timechat.errors import ConfigError, TimeChatError
from timechat.models import must_answer
from timechat.models.required_files import missing_model_files
from timechat.sources import Missing, raise_missing

DEFAULT_MODEL = "eval_configs/timechat.yaml"

# What the configs of models that are trained in the same folder are called.
_OTHERS = "*/configs/evaluate.yaml"


def default_model(options: Sequence[str] = ()) -> str:
    """The model that answers where none is named.

    Args:
        options: overrides of its config.

    Raises:
        ConfigError: it is not in this folder, or lacks files; the message names a model here that lacks none.
        MissingFilesError: it lacks files, and there is no such model.
    """
    if not Path(DEFAULT_MODEL).is_file():
        raise ConfigError(
            f"there is no {DEFAULT_MODEL} in this folder; name a model: --model with a YAML file, the folder of a "
            "saved model, or a hub id"
        )
    missing = _missing(DEFAULT_MODEL, options)
    if missing and (other := _complete_model()):
        first = f"{missing[0].setting}: {missing[0].what}"
        count = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(
            f"{DEFAULT_MODEL} lacks files ({first}{count}; timechat doctor {DEFAULT_MODEL} says where to get them). "
            f"Another model is complete: add --model {other}"
        )
    raise_missing(missing)
    return DEFAULT_MODEL


def _missing(config: str, options: Sequence[str] = ()) -> list[Missing]:
    cfg = load_config(config, options)
    must_answer(cfg.model)
    return list(missing_model_files(cfg.model))


def _complete_model() -> str | None:
    """A config of this folder whose files are all there."""
    for path in sorted(Path().glob(_OTHERS)):
        try:
            if not _missing(str(path)):
                return str(path)
        except TimeChatError:
            continue  # it is no advice then
    return None
