"""Two small tokenizers made from the data, and a tiny LLaMA with random weights that fits one of them."""

from __future__ import annotations

import io
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from safetensors.torch import save
from transformers import LlamaConfig, LlamaForCausalLM

from quickstart.data.scenes import COLOURS, SHAPES, Scene, sampled_seconds
from timechat.io import write_bytes, write_json, write_text
from timechat.text.conversation import TRAINING_SYSTEM, first_turn, visual_text
from timechat.text.timestamps import frame_sentence
from timechat.text.tokenizers import IMAGE_TOKEN

LLAMA_PIECES = 600  # enough for every word of the conversations
EMBEDDING_NORM = 3
_UNK, _BOS, _EOS = "<unk>", "<s>", "</s>"  # ids 0, 1, 2
_SYSTEM = "You watch a video and answer questions about what happens in it and at which seconds."
_WEIGHT_STREAM = 2

_LLAMA_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 344,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
}


def write_bert_vocabulary(folder: Path) -> int:
    """Write `vocab.txt` for WordPiece: the words of the frame's sentence, digits, punctuation. Returns its length."""
    words = sorted(set(re.findall(r"[a-z]+", frame_sentence(0.0).lower())))
    digits = list(string.digits)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *digits, *(f"##{d}" for d in digits), *".,"]
    write_text(folder / "vocab.txt", "".join(f"{word}\n" for word in vocabulary))
    return len(vocabulary)


def write_llama_folder(folder: Path, items: Iterable[dict[str, Any]], scenes: list[Scene], seed: int) -> dict[str, int]:
    """Write a Hugging Face LLaMA folder: tokenizer, configuration, random weights.

    Args:
        items: the training annotations; the tokenizer is trained on their conversations.
        scenes: the training scenes, for the seconds that prompts list.
        seed: of the weights.

    Returns:
        `vocab_size` and `parameters`.
    """
    tokenizer = _train_tokenizer(_tokenizer_lines(items, scenes))
    config = _LLAMA_CONFIG | {"vocab_size": sentencepiece.SentencePieceProcessor(model_proto=tokenizer).vocab_size()}
    weights = _random_weights(config, seed)
    write_bytes(folder / "tokenizer.model", tokenizer)
    generation_config = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    write_json(folder / "config.json", config, indent=1)
    write_json(folder / "generation_config.json", generation_config, indent=1)
    write_json(folder / "tokenizer_config.json", _tokenizer_config(), indent=1)
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    return {"vocab_size": config["vocab_size"], "parameters": sum(w.numel() for w in weights.values())}


def _tokenizer_lines(items: Iterable[dict[str, Any]], scenes: list[Scene]) -> Iterable[str]:
    """The lines of all conversations in the prompt template, split at video tokens."""
    seconds = {f"{s.name}.mp4": [float(t) for t in sampled_seconds(s.duration, s.fps)] for s in scenes}
    for number, item in enumerate(items):
        system = _SYSTEM if number % 2 else TRAINING_SYSTEM
        for turn in item["QA"]:
            prompt = first_turn(turn["q"], visual_text(seconds[item["video"]], num_video_tokens=1), system)
            text = f"{prompt} {turn['a']}".replace(IMAGE_TOKEN, "\n")
            yield from (line for line in text.split("\n") if line.strip())


def _train_tokenizer(lines: Iterable[str]) -> bytes:
    """A SentencePiece BPE model with LLaMA's settings: single digits, bytes for unknown characters.

    The words that distinguish events are symbols of their own. LLaMA has one token for a word after a space and another
    one after a quotation mark, and a small model would have to learn each of them by itself.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=LLAMA_PIECES,
        hard_vocab_limit=False,
        character_coverage=1.0,
        user_defined_symbols=[*COLOURS, *SHAPES],
        required_chars=string.ascii_lowercase + string.digits + "-/:;!?()",
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        shuffle_input_sentence=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _random_weights(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Norms 1, matrices [out, in] normal with a standard deviation of in^-1/2, from which so small a model learns well.

    Embeddings are longer: video tokens, with which the decoder compares words, have a norm of about 11, and with words
    of norm 1 it takes much longer to tell events apart.

    NumPy draws them, because torch's random numbers may differ between processors.
    """
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in LlamaForCausalLM(LlamaConfig(**config)).named_parameters()}
    rng = np.random.default_rng([seed, _WEIGHT_STREAM])
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        scale = EMBEDDING_NORM if name == "model.embed_tokens.weight" else 1
        values = np.ones(shape) if len(shape) == 1 else rng.normal(0, scale * shape[1] ** -0.5, size=shape)
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def _tokenizer_config() -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {str(i): {"content": t, **flags} for i, t in enumerate((_UNK, _BOS, _EOS))},
        "bos_token": _BOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": _EOS,
        "legacy": True,
        "model_max_length": _LLAMA_CONFIG["max_position_embeddings"],
        "pad_token": None,
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": _UNK,
    }
