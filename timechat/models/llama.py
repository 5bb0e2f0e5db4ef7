"""The language decoder: a Hugging Face LLaMA, with LoRA and RoPE scaling if the config asks for them.

The only place that knows where peft puts `embed_tokens`, the layers and the head. Shapes: B rows, S tokens, D width, V
vocabulary.
"""

from __future__ import annotations

import importlib.util
import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import peft
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from timechat.device import resolve_dtype
from timechat.errors import CheckpointError, ConfigError
from timechat.lfs import refuse_pointer
from timechat.models.adapters import LORA_TARGETS
from timechat.models.llama_folder import DEFAULT_THETA
from timechat.models.packing import ROWS, positions
from timechat.models.recomputing import recompute
from timechat.models.weight_files import is_finite, open_folder
from timechat.sources import advice

logger = logging.getLogger(__name__)

TRAINED_CONTEXT = 2048  # tokens that the published decoder was tuned for; positions of longer texts are scaled
ROPE_FACTOR = 2.0
# What transformers makes of settings that it does not know, or that contradict each other.
_CONFIG_ERRORS = (StrictDataclassError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError)
# ImportError: 8 bits without bitsandbytes.
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, ImportError, pickle.UnpicklingError, SafetensorError)


def build_llama(
    folder: str | Path,
    *,
    precision: str = "auto",
    max_txt_len: int = TRAINED_CONTEXT,
    load_weights: bool = True,
    low_resource: bool = False,
    device_8bit: int = 0,
) -> transformers.LlamaForCausalLM:
    """Load a LLaMA folder in Hugging Face's format (`config.json`, weights as .safetensors or .bin, also sharded).

    Args:
        folder: the folder; it also holds `tokenizer.model`.
        precision: see `timechat.device.resolve_dtype`.
        max_txt_len: positions are scaled by 2 (linear RoPE scaling) above 2048, as in the published code.
        load_weights: False leaves the random initial weights (for shapes only, for example on the meta device).
        low_resource: 8-bit weights through bitsandbytes, on the GPU `device_8bit`.

    Raises:
        ConfigError: the folder does not contain a LLaMA.
        CheckpointError: its weights are missing, damaged or do not fit its config.json.
    """
    folder = Path(folder)
    config = read_config(folder)
    if max_txt_len > TRAINED_CONTEXT:
        theta = (config.rope_parameters or {}).get("rope_theta", DEFAULT_THETA)
        config.rope_parameters = {"rope_type": "linear", "factor": ROPE_FACTOR, "rope_theta": theta}
    dtype = resolve_dtype(precision)
    if not load_weights:
        llama = _untrained(folder, config, dtype)
    elif low_resource:
        llama = _load_eight_bit(folder, config, dtype, device_8bit)
    else:
        llama = _load_streamed(folder, config, dtype)
    if llama.config._attn_implementation == "sdpa":
        llama.set_attn_implementation(ROWS)
    # The folder's sampling settings (the published chat model has some) would mix with those of a call.
    llama.generation_config = transformers.GenerationConfig()
    return llama


def _untrained(folder: Path, config: transformers.LlamaConfig, dtype: torch.dtype) -> transformers.LlamaForCausalLM:
    """A decoder with random weights. Raises ConfigError: its config.json asks for what cannot be built."""
    file, attention = f"model.llama_model={folder}: its config.json", getattr(config, "_attn_implementation", None)
    try:
        llama: Any = transformers.LlamaForCausalLM(config)  # transformers decorates `to`, which hides its parameters
    except ImportError as error:
        raise ConfigError(
            f"{file} has attn_implementation={attention!r}, which is not installed ({error}); install it, or write "
            '"sdpa" there'
        ) from error
    except _CONFIG_ERRORS as error:
        raise ConfigError(f"{file} describes no LLaMA that can be built ({_named(error)})") from error
    return llama.to(dtype)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def read_config(folder: Path) -> transformers.LlamaConfig:
    """The `config.json` of a LLaMA folder. Raises ConfigError."""
    if not (folder / "config.json").is_file():
        fix = advice(folder, "model.llama_model")
        raise ConfigError(
            f"model.llama_model={folder}: no config.json there; {fix}it must be a Hugging Face LLaMA folder"
        )
    refuse_pointer(folder / "config.json", ConfigError, "model.llama_model")
    try:
        # Without the last argument, a folder that brings code would have the user asked whether to run it.
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, *_CONFIG_ERRORS) as error:
        raise ConfigError(f"model.llama_model={folder}: its config.json cannot be read ({_named(error)})") from error
    if config.model_type != "llama":
        raise ConfigError(
            f"model.llama_model={folder}: its config.json says model_type {config.model_type!r}, not llama"
        )
    padding, words = config.pad_token_id, config.vocab_size
    if padding is not None and not -words <= padding < words:  # -1 is the last one, as some published folders have it
        raise ConfigError(
            f"model.llama_model={folder}: its config.json has pad_token_id={padding}, which is beyond "
            f"vocab_size={words}; write null there, because nothing here pads with a token"
        )
    return config


def _load_streamed(folder: Path, config: transformers.LlamaConfig, dtype: torch.dtype) -> transformers.LlamaForCausalLM:
    """Read the tensors one by one into their places, in the target precision.

    `from_pretrained` keeps a file in memory while it converts it: twice the model if precisions differ.
    """
    with torch.device("meta"):
        llama = _untrained(folder, config, dtype)
    # The only module that is computed and not stored; on the meta device it has no data.
    llama.model.rotary_emb = type(llama.model.rotary_emb)(config=config)
    source = f"model.llama_model={folder}"
    tensors, own = open_folder(folder, "model.llama_model"), llama.state_dict()
    if config.tie_word_embeddings and "lm_head.weight" not in tensors and "model.embed_tokens.weight" in tensors:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    missing = [name for name in own if name not in tensors]
    misshapen = [name for name in own if name in tensors and tensors[name].shape != own[name].shape]
    for what, names in (("lack", missing), ("have other shapes in", misshapen)):
        if names:
            raise CheckpointError(
                f"{source}: its weights {what} {len(names)} tensors of its config.json, such as "
                f"{', '.join(sorted(names)[:5])}; download the folder again"
            )
    for name in own:
        place, _, leaf = name.rpartition(".")
        setattr(llama.get_submodule(place), leaf, nn.Parameter(_numbers(tensors[name].read(), dtype, name, source)))
    if config.tie_word_embeddings and not torch.equal(llama.lm_head.weight, llama.model.embed_tokens.weight):
        logger.warning(
            "%s: its lm_head.weight differs from its model.embed_tokens.weight, although its config.json says "
            "tie_word_embeddings: the embeddings are used for both; set it to false there if the head is right", source
        )  # fmt: skip
    llama.tie_weights()
    return llama.eval()


def _numbers(tensor: Tensor, dtype: torch.dtype, name: str, source: str) -> Tensor:
    """A tensor of a file in the model's precision. Raises CheckpointError: it is not made of finite numbers."""
    if not tensor.is_floating_point():
        raise CheckpointError(f"{source}: {name} is {tensor.dtype}; quantized folders cannot be read, use the original")
    numbers = torch.empty(tensor.shape, dtype=dtype).copy_(tensor)
    if not is_finite(numbers):
        raise CheckpointError(
            f"{source}: {name} holds NaN or infinite numbers in {dtype}; download the folder again, or choose another "
            "model.llama_precision"
        )
    return numbers


def _load_eight_bit(
    folder: Path, config: transformers.LlamaConfig, dtype: torch.dtype, device: int
) -> transformers.LlamaForCausalLM:
    options = _eight_bit_options(device)
    for path in sorted(folder.iterdir()):
        refuse_pointer(path, CheckpointError, "model.llama_model")
    try:
        return transformers.LlamaForCausalLM.from_pretrained(folder, config=config, dtype=dtype, **options)
    except _LOADING_ERRORS as error:
        raise ConfigError(f"model.llama_model={folder}: cannot be loaded in 8 bits ({error})") from error


def _eight_bit_options(device: int) -> dict[str, Any]:
    if not torch.cuda.is_available():
        raise ConfigError("model.low_resource=true loads LLaMA in 8 bits, which needs a CUDA GPU; set it to false")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("model.low_resource=true needs bitsandbytes: pip install 'timechat[low-resource]'")
    return {
        "quantization_config": transformers.BitsAndBytesConfig(load_in_8bit=True),
        "device_map": {"": device},
    }


def add_lora(
    llama: nn.Module, *, r: int = 32, alpha: int = 32, dropout: float = 0.1, inference_mode: bool = False
) -> peft.PeftModel:
    """Wrap attention's four projections with LoRA; with `inference_mode` its weights are frozen too."""
    config = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        inference_mode=inference_mode,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(LORA_TARGETS),
    )
    return peft.get_peft_model(llama, config)


@contextmanager
def lora_alpha(model: nn.Module, alpha: float | None) -> Iterator[None]:
    """Scale the adapters of a model by alpha / r for a while; None, or a model without adapters, changes nothing."""
    layers = [part for part in model.modules() if isinstance(part, LoraLayer)] if alpha is not None else []
    before = [dict(layer.scaling) for layer in layers]
    try:
        for layer in layers:
            layer.scaling.update({name: alpha / layer.r[name] for name in layer.scaling})
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)


def leave_casts_to_autocast(model: nn.Module) -> None:
    """Adapters of a model whose forward pass runs under autocast take their inputs as they are.

    peft copies an input in 16 bits to the adapter's fp32, and autocast copies it back: the same numbers, for two copies
    of the hidden states in each adapted projection. Adapters of layers in 8 bits are called outside autocast as well.
    """
    for part in model.modules():
        if isinstance(part, LoraLayer) and type(part.get_base_layer()) is nn.Linear:
            part.cast_input_dtype_enabled = False


@contextmanager
def _with_casts(llama: nn.Module) -> Iterator[None]:
    """Adapters take any precision for a while, as peft makes them."""
    layers = [part for part in llama.modules() if isinstance(part, LoraLayer) and not part.cast_input_dtype_enabled]
    try:
        for layer in layers:
            layer.cast_input_dtype_enabled = True
        yield
    finally:
        for layer in layers:
            layer.cast_input_dtype_enabled = False


def causal_lm(llama: nn.Module) -> transformers.LlamaForCausalLM:
    """The decoder itself, including LoRA's layers, without peft's wrapper."""
    base = llama.get_base_model() if isinstance(llama, peft.PeftModel) else llama
    return cast(transformers.LlamaForCausalLM, base)


def hidden_size(llama: nn.Module) -> int:
    """Width of the decoder's input embeddings."""
    return causal_lm(llama).config.hidden_size


def vocab_size(llama: nn.Module) -> int:
    """Number of rows of the embedding table."""
    return causal_lm(llama).config.vocab_size


def embed_with_video(
    llama: nn.Module,
    input_ids: Tensor,
    is_video: Tensor,
    videos: Sequence[Tensor],
    places: Sequence[int] | None = None,
) -> Tensor:
    """Token embeddings, with the videos' embeddings in the marked places.

    Args:
        input_ids: [B, S]; marked ids may be outside the vocabulary.
        is_video: bool [B, S], the mark; row i has as many True as `videos[i]` has embeddings.
        videos: [N_i, D] each.
        places: how many are marked in each row, for whoever knows it: to count them waits for the device.

    Returns:
        [B, S, D] in the decoder's precision.

    Raises:
        ConfigError: the marked places of a row do not match the number of its video's embeddings.
    """
    places = is_video.sum(dim=1).tolist() if places is None else list(places)
    sizes = [len(video) for video in videos]
    if places != sizes:
        raise ConfigError(f"rows have {places} video tokens, but their videos became {sizes} embeddings")
    embeds = causal_lm(llama).model.embed_tokens(input_ids.masked_fill(is_video, 0))
    return embeds.masked_scatter(is_video[..., None], torch.cat(list(videos)).to(embeds.dtype))


def hidden_states(llama: nn.Module, rows: Sequence[Tensor]) -> list[Tensor]:
    """Embeddings [S_i, D] of each row -> its last hidden states [S_i, D]; rows do not see each other.

    They are computed as one sequence, so that no operation works on padding.
    """
    decoder, lengths = causal_lm(llama), [len(row) for row in rows]
    options: dict[str, Any] = {"position_ids": positions(lengths, rows[0].device)[None]}
    if decoder.config._attn_implementation == ROWS:
        # transformers takes a mask of four axes as it is, and so makes none. Other attention functions need the mask
        # that it makes of the positions.
        options |= {"row_lengths": lengths, "attention_mask": rows[0].new_ones(1, 1, 1, 1, dtype=torch.bool)}
    out = decoder.model(inputs_embeds=torch.cat(list(rows))[None], use_cache=False, **options)
    return list(out.last_hidden_state[0].split(lengths))


def logits(llama: nn.Module, hidden: Tensor) -> Tensor:
    """Hidden states [..., D] -> logits of the next token [..., V]."""
    return causal_lm(llama).lm_head(hidden)


def left_pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[S_i, D] each -> [B, S, D] padded on the left with zeros, and its bool mask [B, S]."""
    embeds = pad_sequence(list(rows), batch_first=True, padding_side="left")
    ones = [row.new_ones(len(row), dtype=torch.bool) for row in rows]
    return embeds, pad_sequence(ones, batch_first=True, padding_side="left")


def generate(llama: nn.Module, embeds: Tensor, attention_mask: Tensor, **options: Any) -> Tensor:
    """Continue left-padded embeddings [B, S, D] with Hugging Face's `generate`; `decoding` is faster, without beams.

    Returns:
        Only the new tokens' ids, [B, at most max_new_tokens].
    """
    decoder: Any = causal_lm(llama)  # the declared result of `generate` is all that it may be with any options
    with _with_casts(llama):
        return decoder.generate(inputs_embeds=embeds, attention_mask=attention_mask.long(), **options)


def enable_grad_checkpointing(llama: nn.Module, layers: bool | int = True) -> None:
    """Trade compute for memory in training: activations are recomputed in the backward pass.

    Args:
        llama: the decoder.
        layers: how many of its layers, beginning with the first; True: all.
    """
    # Not transformers' own, which ends up inside of what torch.compile compiles: see `recomputing`.
    recompute(causal_lm(llama).model.layers, layers)
