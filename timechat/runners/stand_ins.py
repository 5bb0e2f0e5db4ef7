"""Small files of the published sizes in place of missing ones, so that a dry run works on a machine that has none."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sentencepiece
from omegaconf import DictConfig

from timechat.models.checkpoints import weight_path
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.text.conversation import first_turn, visual_text
from timechat.text.tokenizers import IMAGE_TOKEN, find_vocabulary

# config.json of LLaMA-2-7B and its chat model.
LLAMA_2_7B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_PIECES = 480  # of the tokenizer: bytes, characters, and enough merges for the words of the prompt
_SPECIAL_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@contextmanager
def stand_ins(model: DictConfig) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Temporary files for what is missing of the decoder's sizes and of the vocabularies.

    Yields:
        The keys of the `model` section that have to name them, and a line about each.
    """
    with tempfile.TemporaryDirectory(prefix="timechat_") as folder:
        keys: dict[str, str] = {}
        lines: list[str] = []
        if "llama_model" in model:
            there, llama = Path(model.llama_model), Path(folder) / "llama"
            absent = [name for name in ("config.json", "tokenizer.model") if not (there / name).is_file()]
            if absent:
                keys["llama_model"] = str(_llama(there, llama, absent))
                lines += [f"{there / name} is missing: {_MEANING[name]}" for name in absent]
        if model.get("qformer_text_input") and find_vocabulary(model.qformer_tokenizer) is None:
            keys["qformer_tokenizer"] = str(_vocabulary(Path(folder) / "vocab.txt", model.qformer.vocab_size - 1))
            lines.append(
                f"the vocabulary {model.qformer_tokenizer} is missing: its size is that of the config, which is BERT's "
                "by default, and tokens of timestamp sentences are estimated"
            )
        if any(
            model.get(key) and not Path(weight_path(model[key])).exists() for key in ("vit_model", "q_former_model")
        ):
            vit, bert = model.vit, model.qformer
            lines.append(
                "the frame encoder and the Q-Formers have the sizes of the config, by default the published ones: "
                f"EVA ViT-g, {vit.depth} blocks of {vit.embed_dim}; BERT-base, {bert.num_hidden_layers} layers of "
                f"{bert.hidden_size}"
            )
        yield keys, lines


_MEANING = {
    "config.json": "the sizes are those of LLaMA-2-7B (32 layers of 4096, 32,000 ids)",
    "tokenizer.model": "tokens of text are estimated, to a few percent, and no batch is read",
}


def _llama(there: Path, folder: Path, absent: list[str]) -> Path:
    """A LLaMA folder without weights, with what there is of the real one."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.model"):
        if name not in absent:
            shutil.copyfile(there / name, folder / name)
    if "config.json" in absent:
        (folder / "config.json").write_text(json.dumps(LLAMA_2_7B))
    if "tokenizer.model" in absent:
        (folder / "tokenizer.model").write_bytes(_tokenizer())
    return folder


def _tokenizer() -> bytes:
    """A SentencePiece model that cuts the prompt like LLaMA's: its words whole, numbers into digits."""
    text = first_turn("", visual_text([0.5], 1), SYSTEM_PROMPT).replace(IMAGE_TOKEN, " ")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text] * 4 + ["0 1 2 3 4 5 6 7 8 9 . ,"]),
        model_writer=model,
        model_type="bpe",
        vocab_size=_PIECES,
        split_digits=True,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=3,
    )
    return model.getvalue()


def _vocabulary(file: Path, size: int) -> Path:
    words = [*_SPECIAL_WORDS, *(f"[unused{number}]" for number in range(size - len(_SPECIAL_WORDS)))]
    file.write_text("\n".join(words) + "\n")
    return file
