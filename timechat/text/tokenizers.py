"""Exact token ids: SentencePiece for LLaMA, WordPiece for the Q-Former. Each file is loaded once per process.

LLaMA's ids come from SentencePiece itself. The tokenizer that the published weights were trained with splits text at
special tokens, drops white space around `<ImageHere>`, and encodes each piece of text separately, each with a leading
space mark. Newer wrappers merge double spaces differently, so none is used.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import sentencepiece
import tokenizers

from timechat.errors import ConfigError
from timechat.lfs import refuse_pointer
from timechat.sources import advice, command_for

IMAGE_TOKEN = "<ImageHere>"
HUB_TIMEOUT_S = 5.0  # how long the hub may take for its first answer
MAX_TIMESTAMP_TOKENS = 32  # the published code truncates timestamp sentences to this

_SPECIAL = re.compile(rf"(<s>|</s>|<unk>|\s*{re.escape(IMAGE_TOKEN)}\s*)")


class LlamaTokenizer:
    """LLaMA's SentencePiece ids, with `<ImageHere>` added as the first id after the vocabulary.

    Args:
        folder: a folder with `tokenizer.model`, or that file.

    Raises:
        ConfigError: the file is missing or not a SentencePiece model.
    """

    unk_id, bos_id, eos_id = 0, 1, 2
    pad_id = 0

    def __init__(self, folder: str | Path):
        path = Path(folder)
        path = path / "tokenizer.model" if path.is_dir() else path
        if not path.is_file():
            raise ConfigError(f"{path}: no SentencePiece model here; {missing_model_advice(Path(folder))}")
        refuse_pointer(path, ConfigError)
        try:
            self.sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"{path}: not a SentencePiece model ({error})") from error
        self.vocab_size = self.sp.vocab_size()
        self.image_token_id = self.vocab_size
        self._special_ids = {
            "<unk>": self.unk_id,
            "<s>": self.bos_id,
            "</s>": self.eos_id,
            IMAGE_TOKEN: self.image_token_id,
        }

    def __len__(self) -> int:
        """Number of ids, including `<ImageHere>`."""
        return self.vocab_size + 1

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Ids of a text; `bos` puts `<s>` first. Special tokens written out in the text become their ids."""
        ids = [self.bos_id] if bos else []
        for piece in _SPECIAL.split(text):
            special = self._special_ids.get(piece.strip())
            if special is not None:
                ids.append(special)
            elif piece:
                ids.extend(self.sp.encode(piece))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids up to the first `</s>`, without special tokens and surrounding white space."""
        ids = [int(i) for i in ids]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        special = set(self._special_ids.values())
        return self.sp.decode([i for i in ids if i not in special and i < self.vocab_size]).strip()


def missing_model_advice(folder: Path) -> str:
    """What to do about a LLaMA folder without `tokenizer.model`."""
    if (folder / "tokenizer.json").is_file():
        return (
            "tokenizer.json cannot take its place, because the ids of newer tokenizers differ at spaces: get the file "
            "from the repository that the folder came from: hf download OWNER/NAME tokenizer.model --local-dir "
            f"{folder} (LLaMA 1 and 2 and Vicuna have it; later ones have other ids and do not fit this model)"
        )
    command = command_for(folder)
    return "model.llama_model must name a LLaMA folder" + (f"; get it with: {command}" if command else "")


# The caches are keyed on resolved paths, because a relative path depends on the working directory.
_load_llama = functools.lru_cache(maxsize=8)(LlamaTokenizer)


def load_tokenizer(llama_model: str | Path) -> LlamaTokenizer:
    """The tokenizer of a LLaMA folder, with `<ImageHere>`; loaded once. Raises ConfigError."""
    if not Path(llama_model).exists():
        fix = advice(llama_model, "model.llama_model")
        raise ConfigError(
            f"model.llama_model={llama_model}: no SentencePiece model here; {fix}model.llama_model must name a LLaMA "
            "folder"
        )
    return _load_llama(Path(llama_model).resolve())


# Sentences that are remembered: all tenths of a second of three hours, 50 MB.
_MOST_KNOWN = 100_000


class QFormerTokenizer:
    """BERT's uncased WordPiece ids for timestamp sentences.

    Args:
        vocab_file: `vocab.txt`, one entry per line.

    Raises:
        ConfigError: the file is not text, or lacks an entry that BERT needs.
    """

    def __init__(self, vocab_file: str | Path):
        refuse_pointer(vocab_file, ConfigError)
        try:
            # Entries end only at line feeds: `splitlines` would also split at rarer separators within an entry.
            with Path(vocab_file).open(encoding="utf-8") as file:
                vocab = {line.rstrip("\n"): i for i, line in enumerate(file)}
        except UnicodeDecodeError as error:
            raise ConfigError(f"{vocab_file}: not text; model.qformer_tokenizer needs a BERT vocab.txt") from error
        missing = [word for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if word not in vocab]
        if missing:
            raise ConfigError(
                f"{vocab_file}: lacks {', '.join(missing)}; model.qformer_tokenizer needs a BERT vocab.txt"
            )
        self._tokenizer = tokenizers.BertWordPieceTokenizer(vocab, lowercase=True)
        self.pad_id = vocab["[PAD]"]
        self.vocab_size = len(vocab) + 1  # the published code adds [DEC]: one more row in the embedding table
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """`[CLS]` + word pieces + `[SEP]`, at most 32 ids; remembered, because the same times come again and again."""
        ids = self._known.get(text)
        if ids is None:
            ids = self._tokenizer.encode(text).ids
            ids = ids if len(ids) <= MAX_TIMESTAMP_TOKENS else [*ids[: MAX_TIMESTAMP_TOKENS - 1], ids[-1]]
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[text] = ids
        return list(ids)

    def save(self, folder: str | Path) -> None:
        """Write `vocab.txt` into a folder, which is created if necessary."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._tokenizer.save_model(str(folder))


_load_qformer = functools.lru_cache(maxsize=8)(QFormerTokenizer)


def load_qformer_tokenizer(name: str | Path) -> QFormerTokenizer:
    """The Q-Former's tokenizer: a folder with `vocab.txt`, that file, or a hub id; loaded once.

    A name without such a file is searched for under `ckpt/` (`ckpt/bert-base-uncased`), then in the hub's cache, and
    only then on the hub. Raises ConfigError with the command that downloads the file.
    """
    if (path := find_vocabulary(name) or vocabulary_from_hub(str(name))) is None:
        raise ConfigError(
            f"model.qformer_tokenizer: no vocab.txt at {name} or ckpt/{Path(name).name}, and it could not be "
            f"downloaded; with internet access: {vocabulary_command(name)}"
        )
    return _load_qformer(path.resolve())


def vocabulary_command(name: str | Path) -> str:
    """What downloads a vocabulary to where it is found."""
    return f"hf download {name} vocab.txt --local-dir ckpt/{Path(name).name}"


def find_vocabulary(name: str | Path) -> Path | None:
    """The `vocab.txt` that a name means on this machine, without a download; None if there is none."""
    for path in (Path(name), Path("ckpt") / Path(name).name):
        if path.is_file():
            return path
        if (path / "vocab.txt").is_file():
            return path / "vocab.txt"
    try:
        return Path(huggingface_hub.hf_hub_download(str(name), "vocab.txt", local_files_only=True))
    except (OSError, ValueError):  # ValueError: it is no name of a repository
        return None


@functools.lru_cache(maxsize=8)
def vocabulary_from_hub(repo_id: str) -> Path | None:
    """Download `vocab.txt`, once per process, whatever comes of it; None if it cannot be had.

    The hub's client would repeat a request that fails for 20 seconds, with a line for each; so it is asked once whether
    it can be reached.
    """
    with contextlib.suppress(Exception):  # which kinds it raises depends on the client's version
        url = huggingface_hub.hf_hub_url(repo_id, "vocab.txt")
        huggingface_hub.get_hf_file_metadata(url, timeout=HUB_TIMEOUT_S)
        return Path(huggingface_hub.hf_hub_download(repo_id, "vocab.txt"))
    return None
