"""Ids of both tokenizers, exact; what is loaded once; what happens where files are missing or wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers.tiny import BERT, LLAMA, Golden

from timechat.errors import ConfigError
from timechat.text import tokenizers
from timechat.text.timestamps import frame_sentence
from timechat.text.tokenizers import LlamaTokenizer, QFormerTokenizer, load_qformer_tokenizer, load_tokenizer

IMAGE = 700


@pytest.fixture(scope="module")
def llama() -> LlamaTokenizer:
    """The tiny SentencePiece model: 700 ids."""
    return load_tokenizer(LLAMA)


def test_the_image_token_is_the_first_id_behind_the_vocabulary(llama: LlamaTokenizer) -> None:
    assert (llama.vocab_size, llama.image_token_id, len(llama)) == (700, IMAGE, 701)


def test_bos_comes_first_unless_it_is_not_wanted(llama: LlamaTokenizer) -> None:
    plain = llama.sp.encode("the chef")
    assert llama.encode("the chef") == [1, *plain]
    assert llama.encode("the chef", bos=False) == plain
    assert llama.encode("") == [1]


def test_special_tokens_are_walls(llama: LlamaTokenizer) -> None:
    """Each piece of text is encoded separately, with a leading space mark and its spaces."""
    piece = llama.sp.encode
    assert llama.encode("a </s><s>b<unk>", bos=False) == [*piece("a "), 2, 1, *piece("b"), 0]
    assert llama.encode("<s> b", bos=False) == [1, *piece(" b")]


def test_white_space_around_image_tokens_is_dropped(llama: LlamaTokenizer) -> None:
    piece = llama.sp.encode
    expected = [*piece("a"), IMAGE, IMAGE, *piece("b")]
    assert llama.encode("a<ImageHere><ImageHere>b", bos=False) == expected
    assert llama.encode("a \n<ImageHere>  <ImageHere>\t b", bos=False) == expected


def test_decode_stops_at_the_first_end_and_leaves_special_tokens_out(llama: LlamaTokenizer) -> None:
    words = llama.sp.encode("the chef cuts")
    assert llama.decode([1, *words, IMAGE, 0, 2, *words]) == "the chef cuts"
    assert llama.decode([2, *words]) == ""
    assert llama.decode([]) == ""
    assert llama.decode(torch.tensor([*words, 5000]).tolist()) == "the chef cuts"


def test_each_file_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file by two names is one tokenizer; the same relative name elsewhere is another file."""
    monkeypatch.chdir(LLAMA.parent)
    assert load_tokenizer("llama") is load_tokenizer(LLAMA) is load_tokenizer(str(LLAMA))
    assert load_qformer_tokenizer("bert") is load_qformer_tokenizer(BERT / "vocab.txt")
    monkeypatch.chdir(LLAMA.parent.parent)
    with pytest.raises(ConfigError):
        load_tokenizer("llama")


def test_llama_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.model|no SentencePiece model here"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot take its place.*hf download .* tokenizer\.model"):
        load_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match=r"nowhere: no SentencePiece model here; model\.llama_model must name"):
        load_tokenizer(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 50])
def test_llama_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ConfigError, match=r"tokenizer\.model: not a SentencePiece model"):
        load_tokenizer(tmp_path)


# Q-Former -------------------------------------------------------------------------------------------------------------


def test_word_pieces_between_cls_and_sep() -> None:
    tokenizer = load_qformer_tokenizer(BERT)
    words = (BERT / "vocab.txt").read_text().split()
    ids = tokenizer.encode("This frame is sampled at 12.5 second.")
    expected = ["[CLS]", "this", "frame", "is", "sampled", "at", "1", "##2", ".", "5", "second", ".", "[SEP]"]
    assert [words[i] for i in ids] == expected
    assert tokenizer.vocab_size == len(words) + 1
    assert tokenizer.pad_id == 0


def test_golden_sentences(golden: Golden) -> None:
    tokenizer = load_qformer_tokenizer(BERT)
    seconds = [t for video in golden.expected["timestamps"] for t in video]
    rows = zip(golden.tensors["q_input_ids"], golden.tensors["q_attention_mask"], strict=True)
    assert [tokenizer.encode(frame_sentence(t)) for t in seconds] == [i[m.bool()].tolist() for i, m in rows]


def test_long_sentences_are_cut_at_32_ids_and_keep_their_end() -> None:
    tokenizer = load_qformer_tokenizer(BERT)
    full = tokenizer.encode("is " * 30)
    cut = tokenizer.encode("is " * 31)
    assert len(full) == len(cut) == 32
    assert full == cut
    assert cut[0] == 2
    assert cut[-1] == 3
    assert set(cut[1:-1]) == {cut[1]}


def test_vocabulary_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    """A rare separator inside an entry must not shift all later ids."""
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\u2028b\nat\n", encoding="utf-8")
    tokenizer = QFormerTokenizer(vocab)
    assert tokenizer.encode("at") == [2, 5, 3]
    assert tokenizer.vocab_size == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello\n", r"lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\]"), (b"", "lacks"), (b"\xff\xfe\x00", "not text")],
)
def test_vocabulary_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"vocab\.txt: {message}"):
        load_qformer_tokenizer(tmp_path)


def test_ckpt_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(BERT, tmp_path / "ckpt" / "bert-base-uncased")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *args, **kwargs: pytest.fail("asked the hub"))
    assert load_qformer_tokenizer("bert-base-uncased").vocab_size == 88
    assert load_qformer_tokenizer("google/bert-base-uncased").vocab_size == 88


class Hub:
    """The hub's client, with what it is asked for; it has a vocabulary, or cannot be reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reachable: bool):
        self.asked: list[str] = []
        self.reachable, self.cached = reachable, False
        tokenizers.vocabulary_from_hub.cache_clear()
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", self.metadata)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)

    def metadata(self, url: str, timeout: float) -> None:
        """Whether it answers."""
        assert timeout <= 5
        self.asked.append(url)
        if not self.reachable:
            raise RuntimeError("no network, in an error of the client's HTTP library")

    def download(self, repo: str, name: str, local_files_only: bool = False) -> str:
        """From the cache, or into it."""
        if local_files_only and not self.cached:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        if not local_files_only:
            self.asked.append(f"download {repo}/{name}")
        self.cached = True
        return str(BERT / "vocab.txt")


def test_a_hub_that_cannot_be_reached_is_asked_once_and_the_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    hub = Hub(monkeypatch, reachable=False)
    command = "hf download bert-base-uncased vocab.txt --local-dir ckpt/bert-base-uncased"
    for _ in range(3):
        with pytest.raises(ConfigError, match=command):
            load_qformer_tokenizer("bert-base-uncased")
    assert hub.asked == ["https://huggingface.co/bert-base-uncased/resolve/main/vocab.txt"]
    assert not caplog.text + "".join(capfd.readouterr())


def test_a_vocabulary_is_downloaded_once_and_then_found_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub = Hub(monkeypatch, reachable=True)
    assert load_qformer_tokenizer("some/bert").vocab_size == 88
    assert hub.asked[1:] == ["download some/bert/vocab.txt"]
    tokenizers.vocabulary_from_hub.cache_clear()
    load_qformer_tokenizer("some/bert")
    assert len(hub.asked) == 2


def test_a_name_that_is_no_repository_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no vocab\.txt at a/b/c/bert or ckpt/bert"):
        load_qformer_tokenizer("a/b/c/bert")
