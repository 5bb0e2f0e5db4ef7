"""Answers written together, beside Hugging Face's `generate` over whole prompts: beginnings, ends, LoRA, draws."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from helpers.tiny import LLAMA
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from timechat.models import decoding, decoding_steps, few_rows, recording
from timechat.models import llama as lm
from timechat.models.decoding import Prompt, common_length, decode, greedy
from timechat.models.decoding_steps import RecordedSteps
from timechat.models.lean_llama import LeanLlama, projection
from timechat.models.sampling import Drawing

END, NEVER = 2, -1
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def with_lora(llama: transformers.LlamaForCausalLM, alpha: int = 16) -> nn.Module:
    """Adapters that count."""
    wrapped = lm.add_lora(llama, r=4, alpha=alpha).eval()
    for name, weight in wrapped.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(weight, std=0.05)
    return wrapped


@pytest.fixture(scope="module")
def llama() -> transformers.LlamaForCausalLM:
    """The tiny LLaMA."""
    return lm.build_llama(LLAMA, precision="fp32").eval()


@pytest.fixture(scope="module")
def adapted() -> nn.Module:
    """The tiny LLaMA with LoRA."""
    torch.manual_seed(0)
    return with_lora(lm.build_llama(LLAMA, precision="fp32"))


@pytest.fixture(scope="module")
def shared() -> nn.Module:
    """Two heads of queries share one of keys and values; with LoRA and biases."""
    torch.manual_seed(0)
    config = lm.read_config(LLAMA)
    config.update({"num_key_value_heads": config.num_attention_heads // 2, "attention_bias": True})
    llama = transformers.LlamaForCausalLM(config).eval()
    llama.generation_config = transformers.GenerationConfig()
    return with_lora(llama)


def prompts_of(llama: nn.Module, *texts: tuple[str, Sequence[int]]) -> list[Prompt]:
    """(what it is about, ids) each; the same ids have other embeddings in other videos."""
    table, found = lm.causal_lm(llama).model.embed_tokens.weight.detach(), []
    for about, ids in texts:
        shift = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(len(about)))
        found.append(Prompt(ids, table[list(ids)] + shift.to(table.dtype), about))
    return found


def plain(llama: nn.Module, prompt: Prompt, **options: Any) -> list[int]:
    """One prompt, read whole and continued by Hugging Face."""
    config = transformers.GenerationConfig(pad_token_id=0, **options)
    return lm.generate(llama, *lm.left_pad([prompt.embeds]), generation_config=config)[0].tolist()


FILM, OTHER = list(range(40, 70)), list(range(300, 318))
TEXTS = [
    ("film", [*FILM, 5, 6, 7]),
    ("other one", [*OTHER, 9]),
    ("film", [*FILM, 5, 8]),
    ("film", [*FILM, 11, 12, 13, 14, 15]),
    ("other one", [*OTHER[:9], 77, 78]),
    ("alone", [3]),
    ("film", [*FILM, 5, 6, 7]),
]


@pytest.fixture(params=["small", "large", "recorded"])
def weights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the weights are multiplied: as such small ones are, as large ones; and in steps that are recorded."""
    if request.param == "large":
        monkeypatch.setattr(few_rows, "_LARGE", 0)
        monkeypatch.setattr(few_rows, "_MKL", True)
    if request.param == "recorded":
        record_steps(monkeypatch)


def record_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps are recorded as on a GPU: what Python computes in one is computed once. The replays of each recording."""
    replays: list[int] = []
    asks_the_host = (torch.ops.aten.lift_fresh_copy.default, torch.ops.aten._local_scalar_dense.default)

    def record(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        cache = inspect.getclosurevars(step).nonlocals["self"].cache
        state = [cache._next, cache._new, cache._hidden, *cache._stores]
        before = [tensor.clone() for tensor in state]
        recorded = make_fx(step)()
        assert not [node for node in recorded.graph.nodes if node.target in asks_the_host]
        for tensor, numbers in zip(state, before, strict=True):  # a recording changes nothing
            tensor.copy_(numbers)
        result, number = torch.full_like(recorded(), torch.nan), len(replays)
        for tensor, numbers in zip(state, before, strict=True):
            tensor.copy_(numbers)
        replays.append(0)

        def replay() -> Tensor:
            replays[number] += 1
            return result.copy_(recorded())

        return replay

    monkeypatch.setattr(recording, "Recorder", lambda device: SimpleNamespace(record=record))
    monkeypatch.setattr(decoding_steps, "recorders", recording.Recorders())
    monkeypatch.setattr(decoding, "steps_of", lambda llama, lean, cache: RecordedSteps(lean, cache))
    return replays


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("kind", ["llama", "adapted", "shared"])
@pytest.mark.parametrize("rows", [[0], [5], [0, 1, 5], [0, 2, 3, 6], list(range(7))])
def test_what_is_written_together_is_what_each_writes_alone(
    kind: str, rows: list[int], request: pytest.FixtureRequest
) -> None:
    """Alone, in one video, in several; ragged, equal, and of one token."""
    model = request.getfixturevalue(kind)
    prompts = [prompts_of(model, *TEXTS)[row] for row in rows]
    written = decode(model, prompts, max_new_tokens=9, end=NEVER)
    assert written == [plain(model, prompt, max_new_tokens=9) for prompt in prompts]
    assert {len(ids) for ids in written} == {9}


@pytest.mark.parametrize("recorded", [False, True])
def test_answers_longer_than_the_places_that_are_ready(
    adapted: nn.Module, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is recorded anew when its places have moved."""
    replays = record_steps(monkeypatch) if recorded else []
    prompts = prompts_of(adapted, *TEXTS)
    written = decode(adapted, prompts, max_new_tokens=45, end=NEVER)
    assert written == [plain(adapted, prompt, max_new_tokens=45) for prompt in prompts]
    assert not recorded or (len(replays) >= 2 and min(replays) > 0)


def test_recorded_steps_go_on_until_half_of_the_rows_have_ended(
    adapted: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven rows, of which one ends after each of the first six tokens beyond the tenth."""
    prompts = prompts_of(adapted, *TEXTS)
    plain_ids = decode(adapted, prompts, max_new_tokens=30, end=NEVER)
    replays = record_steps(monkeypatch)

    def enough(ids: Sequence[Sequence[int]]) -> list[bool]:
        return [len(of_row) > 10 + row for row, of_row in enumerate(ids)]

    written = decode(adapted, prompts, max_new_tokens=30, end=NEVER, enough=enough)
    assert [len(ids) for ids in written] == [11, 12, 13, 14, 15, 16, 17]
    assert written == [ids[: len(of_row)] for ids, of_row in zip(plain_ids, written, strict=True)]
    # Thirteen steps with seven rows, the first four as they are; three are left then, one of which ends after each.
    assert replays == [9]


def test_whoever_records_uses_the_memory_of_those_that_have_ended(
    adapted: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second answer at the same time gets its own; what raises gives it back, too."""
    record_steps(monkeypatch)
    make, made = recording.Recorder, []
    monkeypatch.setattr(recording, "Recorder", lambda device: made.append(make(device)) or made[-1])
    prompts = prompts_of(adapted, *TEXTS[:2])

    def meanwhile(ids: Sequence[Sequence[int]]) -> list[bool]:
        if len(ids[0]) == 8:
            decode(adapted, prompts, max_new_tokens=7, end=NEVER)
        return [False] * len(ids)

    def raising(ids: Sequence[Sequence[int]]) -> list[bool]:
        if len(ids[0]) == 8:
            raise KeyboardInterrupt
        return [False] * len(ids)

    decode(adapted, prompts, max_new_tokens=7, end=NEVER)
    assert len(made) == 1
    with pytest.raises(KeyboardInterrupt):
        decode(adapted, prompts, max_new_tokens=9, end=NEVER, enough=raising)
    decode(adapted, prompts, max_new_tokens=7, end=NEVER)
    assert len(made) == 1
    decode(adapted, prompts, max_new_tokens=9, end=NEVER, enough=meanwhile)
    decode(adapted, prompts, max_new_tokens=9, end=NEVER, enough=meanwhile)
    assert len(made) == 2


def test_rows_that_end_with_their_first_token_stay_in_a_recorded_batch(
    adapted: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompts_of(adapted, *TEXTS)
    plain_ids = decode(adapted, prompts, max_new_tokens=9, end=NEVER)
    record_steps(monkeypatch)

    def enough(ids: Sequence[Sequence[int]]) -> list[bool]:
        return [row in (0, 4) for row, _ in enumerate(ids)]

    written = decode(adapted, prompts, max_new_tokens=9, end=NEVER, enough=enough)
    assert written == [ids[:1] if row in (0, 4) else ids for row, ids in enumerate(plain_ids)]


def test_scores_of_recorded_steps_may_be_kept(adapted: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next replay writes into the same memory, but not into what was given."""
    prompts, kept = prompts_of(adapted, *TEXTS[:3]), ([], [])
    for into in kept:

        def choose(scores: Tensor, rows: Sequence[int], into: list[Tensor] = into) -> Tensor:
            into.append(scores)
            return greedy(scores, rows)

        decode(adapted, prompts, max_new_tokens=9, end=NEVER, choose=choose)
        record_steps(monkeypatch)
    assert len(kept[1]) == 9
    assert_close(torch.stack(kept[1]), torch.stack(kept[0]), **CLOSE)


def test_nobody_draws_while_something_is_recorded(adapted: nn.Module) -> None:
    """That would break the recording of another thread; who only waits for what was drawn keeps nobody waiting."""
    held = []

    def choose(scores: Tensor, rows: Sequence[int]) -> Tensor:
        held.append(recording.no_recording.locked())
        return greedy(scores, rows)

    def enough(ids: Sequence[Sequence[int]]) -> list[bool]:
        held.append(recording.no_recording.locked())
        return [False] * len(ids)

    decode(adapted, prompts_of(adapted, TEXTS[0]), max_new_tokens=2, end=NEVER, choose=choose, enough=enough)
    assert held == [True, False, True, False]


def test_a_recorder_that_has_failed_is_not_used_again(adapted: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    record_steps(monkeypatch)
    made: list[object] = []

    def record(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise torch.OutOfMemoryError

    def make(device: torch.device) -> SimpleNamespace:
        made.append(device)
        return SimpleNamespace(record=record)

    monkeypatch.setattr(recording, "Recorder", make)
    for count in (1, 2):
        with pytest.raises(torch.OutOfMemoryError):
            decode(adapted, prompts_of(adapted, TEXTS[0]), max_new_tokens=9, end=NEVER)
        assert len(made) == count


@pytest.mark.parametrize("reason", ["", "not a GPU", "modules", "gathered", "autocast"])
def test_steps_are_recorded_where_nothing_asks_the_host(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    llama: Any = nn.Linear(1, 1)
    if reason == "gathered":
        llama.weight.ds_id = 1
    if reason == "autocast":
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
    lean: Any = SimpleNamespace(is_plain=reason != "modules")
    cache: Any = SimpleNamespace(device=torch.device("cpu" if reason == "not a GPU" else "cuda"), rows=[0])
    steps = decoding_steps.steps_of(llama, lean, cache)
    assert type(steps) is (decoding_steps.Steps if reason else RecordedSteps)


def test_what_is_plain() -> None:
    """Functions of weights alone: what calls other modules might ask the host."""
    plain_one, config = lm.build_llama(LLAMA, precision="fp32"), lm.read_config(LLAMA)
    assert LeanLlama(plain_one).is_plain
    assert LeanLlama(with_lora(plain_one)).is_plain
    causal = lm.causal_lm(plain_one)
    causal.model.layers[1].mlp.up_proj = type("Quantized", (nn.Linear,), {})(4, 4)
    assert not LeanLlama(plain_one).is_plain
    config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert not LeanLlama(transformers.LlamaForCausalLM(config)).is_plain


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("kind", ["llama", "adapted", "shared"])
def test_scores_do_not_depend_on_the_neighbours(kind: str, request: pytest.FixtureRequest) -> None:
    """After each token, also when neighbours have ended, beside the scores of the whole sequence."""
    model = request.getfixturevalue(kind)
    prompts, seen = prompts_of(model, *TEXTS), {row: [] for row in range(len(TEXTS))}

    def choose(scores: Tensor, rows: Sequence[int]) -> Tensor:
        for row, of_row in zip(rows, scores, strict=True):
            seen[row].append(of_row)
        return greedy(scores, rows)

    def enough(ids: Sequence[Sequence[int]]) -> list[bool]:
        return [len(of_row) > row for row, of_row in enumerate(ids)]

    written = decode(model, prompts, max_new_tokens=6, end=NEVER, choose=choose, enough=enough)
    assert [len(ids) for ids in written] == [1, 2, 3, 4, 5, 6, 6]
    table = lm.causal_lm(model).model.embed_tokens.weight
    for prompt, ids, scores in zip(prompts, written, seen.values(), strict=True):
        whole = torch.cat([prompt.embeds, table[ids[:-1]]])
        with torch.no_grad():
            (hidden,) = lm.hidden_states(model, [whole])
            assert_close(torch.stack(scores), lm.logits(model, hidden)[len(prompt.ids) - 1 :], **CLOSE)


@torch.no_grad()
def test_16_bits_lose_no_more_than_in_the_decoder() -> None:
    """The precision in which 7B answers: beside the same weights in fp32, and the decoder's own 16 bits."""
    torch.manual_seed(0)
    model = with_lora(lm.build_llama(LLAMA, precision="bf16"))
    exact, prompts, seen = (
        copy.deepcopy(model).float(),
        prompts_of(model, *TEXTS),
        {row: [] for row in range(len(TEXTS))},
    )

    def choose(scores: Tensor, rows: Sequence[int]) -> Tensor:
        for row, of_row in zip(rows, scores, strict=True):
            seen[row].append(of_row)
        return greedy(scores, rows)

    written = decode(model, prompts, max_new_tokens=6, end=NEVER, choose=choose)
    table = lm.causal_lm(model).model.embed_tokens.weight
    assert {prompt.embeds.dtype for prompt in prompts} == {of_row.dtype for of_row in seen[0]} == {torch.bfloat16}
    lost: dict[str, list[Tensor]] = {"here": [], "there": []}
    for prompt, ids, scores in zip(prompts, written, seen.values(), strict=True):
        whole = torch.cat([prompt.embeds, table[ids[:-1]]])
        right, there = (
            lm.logits(each, lm.hidden_states(each, [whole.to(dtype)])[0])[len(prompt.ids) - 1 :].float()
            for each, dtype in ((exact, torch.float32), (model, torch.bfloat16))
        )
        lost["here"].append((torch.stack(scores).float() - right).square())
        lost["there"].append((there - right).square())
    here, there = (torch.cat(lost[name]).mean().sqrt() for name in ("here", "there"))
    assert 0 < here < 1.5 * there


@pytest.mark.parametrize("most", [1, 8])
def test_all_rows_may_end_at_once(adapted: nn.Module, most: int) -> None:
    """With their first token, which is the end, or as long as an answer may be."""
    prompts = prompts_of(adapted, TEXTS[0], TEXTS[6], TEXTS[0])
    (free, *_) = decode(adapted, prompts, max_new_tokens=1, end=NEVER)
    assert decode(adapted, prompts, max_new_tokens=most, end=free[0] if most > 1 else NEVER) == [free] * 3


def test_the_end_is_kept_and_ends_one_row_alone(adapted: nn.Module) -> None:
    prompts = prompts_of(adapted, *TEXTS)
    free = decode(adapted, prompts, max_new_tokens=8, end=NEVER)
    end = free[0][3]
    expected = [ids[: ids.index(end) + 1] if end in ids else ids for ids in free]
    assert len(expected[0]) <= 4
    assert decode(adapted, prompts, max_new_tokens=8, end=end) == expected


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.7, 0.8)])
def test_draws_are_those_of_hugging_face(adapted: nn.Module, temperature: float, top_p: float) -> None:
    """A batch of rows that end at different times."""
    prompts = prompts_of(adapted, *TEXTS[:4])
    torch.manual_seed(5)
    options = {"do_sample": True, "temperature": temperature, "top_p": top_p, "max_new_tokens": 30}
    config = transformers.GenerationConfig(eos_token_id=END, pad_token_id=0, **options)
    drawn = lm.generate(adapted, *lm.left_pad([p.embeds for p in prompts]), generation_config=config).tolist()
    torch.manual_seed(5)
    ours = decode(adapted, prompts, max_new_tokens=30, end=END, choose=Drawing(4, temperature, top_p))
    assert ours == [ids[: ids.index(END) + 1] if END in ids else ids for ids in drawn]
    assert ours != decode(adapted, prompts, max_new_tokens=30, end=END)


def test_a_draw_does_not_depend_on_when_others_end() -> None:
    scores, draw = torch.randn(3, 60), Drawing(3, 1.0, 1.0)
    torch.manual_seed(1)
    together = draw(scores, [0, 1, 2])
    torch.manual_seed(1)
    assert draw(scores[[0, 2]], [0, 2]).tolist() == together[[0, 2]].tolist()


def test_common_length() -> None:
    assert common_length([[1, 2, 3, 4], [1, 2, 5]]) == 2
    assert common_length([[1, 2, 3], [1, 2, 3]]) == 2  # the last ids are their own
    assert common_length([[1, 2, 3]]) == 2
    assert common_length([[1], [1, 2]]) == 0


# LoRA -----------------------------------------------------------------------------------------------------------------


def test_reading_changes_no_weight(adapted: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    decode(adapted, prompts_of(adapted, *TEXTS), max_new_tokens=3, end=NEVER)
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapted.state_dict().items())


def test_the_scaling_is_that_of_the_moment(adapted: nn.Module) -> None:
    layer = lm.causal_lm(adapted).model.layers[0].self_attn.q_proj
    x = torch.randn(3, 64)
    with torch.no_grad():
        results = [projection(layer)(x)]
        for alpha in (4.0, 40.0):
            with lm.lora_alpha(adapted, alpha):
                results.append(projection(layer)(x))
                assert_close(results[-1], layer(x), **CLOSE)
        assert_close(projection(layer)(x), results[0])
    assert not torch.allclose(results[1], results[2])


@torch.no_grad()
def test_in_16_bits_small_adapters_are_not_lost() -> None:
    """Each less than half a step of the weight's precision: added to the weight, they would vanish."""
    llama = lm.build_llama(LLAMA, precision="bf16").eval()
    wrapped = lm.add_lora(llama, r=4, alpha=4).eval()
    layer = lm.causal_lm(wrapped).model.layers[0].self_attn.q_proj
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    x[:, 32:] = -1.0
    layer.get_base_layer().weight.fill_(1.0)
    layer.lora_A["default"].weight.copy_(x.expand(4, 64))
    layer.lora_B["default"].weight.fill_(2.0**-12)
    assert_close(projection(layer)(x), layer(x))
    assert_close(projection(layer)(x).float(), torch.full((1, 64), 4 * 64 * 2.0**-12))


def test_what_peft_does_otherwise_is_left_to_it(adapted: nn.Module) -> None:
    layer = lm.causal_lm(adapted).model.layers[0].self_attn.q_proj
    with adapted.disable_adapter():
        assert projection(layer) is layer
    assert projection(layer) is not layer


@torch.no_grad()
def test_positions_are_scaled_as_in_the_decoder() -> None:
    """Above 2048 tokens, place 10 behaves as 5."""
    queries: list[Tensor] = []
    for max_txt_len, places in ((4096, [0, 6, 10]), (2048, [0, 3, 5])):
        lean = LeanLlama(lm.build_llama(LLAMA, precision="fp32", max_txt_len=max_txt_len).eval())
        torch.manual_seed(0)
        lean.logits(torch.randn(3, 64), torch.tensor(places), lambda number, query, *_: queries.append(query) or query)
    first, second = queries[0], queries[len(queries) // 2]
    assert_close(first, second, **CLOSE)
