"""What an engine is put through. Run by torchrun with a folder for the results and the strategies to try."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from helpers.tiny import QA, build_tiny
from helpers.training import NO_DROPOUT
from timechat import distributed
from timechat.batch import VideoBatch, pad_conversations
from timechat.models import TimeChat
from timechat.models.checkpoints import canonical_name, load_weights
from timechat.registry import registry
from timechat.runners.engines import Engine
from timechat.runners.optimizers import parameter_groups
from timechat.text.conversation import encode_conversation

CPU = torch.device("cpu")
CLIP = 0.05  # far below the norm of the gradients
OFFLOAD = "+offload"  # behind a strategy of DeepSpeed: its optimizer works in main memory, as a user's file may say

# Frames (one is an image, which has no sentence of time) and answers. Of two processes, each has an image beside the
# other's video, once in the first and once in the last micro-batch of a step.
SAMPLES = [(5, "0.5 - 1.0 seconds."), (1, "Bread."), (1, "The chef cuts the bread and stirs."), (9, "Yes, at 3.0.")]


def tiny_model(*options: str) -> TimeChat:
    """The tiny model without dropout, in training mode."""
    return build_tiny([*NO_DROPOUT, *options]).train()


def batches(model: TimeChat) -> list[VideoBatch]:
    """One step: four micro-batches of one sample."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for count, answer in SAMPLES:
        seconds = [0.5 * i for i in range(count)] if count > 1 else None
        tokens = model.num_video_tokens(count)
        qa = [QA[0] | {"a": answer}]
        encoded = encode_conversation(qa, seconds, model.tokenizer, num_video_tokens=tokens, max_txt_len=2048)
        frames = torch.randint(0, 256, (count, 3, 56, 56), generator=generator).to(torch.uint8)
        found.append(
            VideoBatch(frames, [count], [seconds], *pad_conversations([(encoded.input_ids, encoded.labels)], 0))
        )
    return found


@dataclass
class Steps:
    """What some steps gave; one entry each, the weights after the last."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)


def plain_steps(model: TimeChat, optimizer: torch.optim.Optimizer, number: int, clip: float | None = None) -> Steps:
    """Gradient descent as torch alone does it, on the whole batch."""
    found = Steps()
    for _ in range(number):
        loss = torch.stack([model(batch)["sample_losses"].mean() for batch in batches(model)]).mean()
        loss.backward()
        found.losses.append(loss.item())
        named = {canonical_name(name): p for name, p in model.named_parameters() if p.requires_grad}
        found.gradients.append({name: p.grad.clone() for name, p in named.items()})
        if clip is not None:
            found.norms.append(float(torch.nn.utils.clip_grad_norm_(named.values(), clip)))
        optimizer.step()
        optimizer.zero_grad()
    found.weights = {name: p.detach().clone() for name, p in named.items()}
    return found


def engine_steps(engine: Engine, number: int, clip: float | None = None, gradients: bool = False) -> Steps:
    """The same through an engine, on this process's share of the batch."""
    found, rank, world = Steps(), distributed.rank(), distributed.world_size()
    for _ in range(number):
        share = batches(engine.unwrap())[rank::world]
        total = accumulate(engine, share)
        found.losses.append(distributed.all_reduce_sum([float(total)], CPU)[0] / world)
        if gradients:
            found.gradients.append(whole_gradients(engine))
        checked = engine.check(total)
        assert checked.finite
        assert checked.loss == float(total)
        if clip is not None:
            found.norms.append(checked.norm)
            engine.clip(clip)
        engine.step()
    found.weights = parameters_of(engine)
    return found


def accumulate(engine: Engine, share: list[VideoBatch]) -> Tensor:
    """Forward and backward of a step; this process's loss."""
    total = torch.zeros(())
    for i, batch in enumerate(share):
        with engine.accumulate(last=i + 1 == len(share)):
            loss = engine.model(batch)["sample_losses"].mean() / len(share)
            engine.backward(loss)
        total += loss.detach()
    return total


def whole_gradients(engine: Engine) -> dict[str, Tensor]:
    """Every gradient by published name, put together from its shards."""
    return {
        canonical_name(name): _whole_gradient(engine, p).clone()
        for name, p in engine.unwrap().named_parameters()
        if p.requires_grad
    }


def _whole_gradient(engine: Engine, parameter: nn.Parameter) -> Tensor:
    if engine.name.startswith("deepspeed"):
        from deepspeed.utils import safe_get_full_grad

        return safe_get_full_grad(parameter)
    return parameter.grad.full_tensor() if isinstance(parameter.grad, DTensor) else parameter.grad


def parameters_of(engine: Engine) -> dict[str, Tensor]:
    """Copies of what learns, whole, by published name, on the main process (nothing on the others)."""
    state = engine.model_state() or {}
    return {name: tensor.clone() for name, tensor in state.items() if tensor.is_floating_point()}


def prepared(strategy: str, model: TimeChat, precision: str = "fp32", adam: bool = False) -> Engine:
    """An engine with a copy of a model and a new optimizer."""
    AcceleratorState._reset_state(reset_partial_state=True)
    strategy, offload, _ = strategy.partition(OFFLOAD)
    settings: dict[str, Any] = {"zero_optimization": {"offload_optimizer": {"device": "cpu", "pin_memory": False}}}
    if offload and not adam:
        settings["zero_force_ds_cpu_optimizer"] = False  # DeepSpeed has no gradient descent for CPUs
    engine_class = registry.get_engine_class(strategy)
    engine = engine_class(CPU, precision, settings) if offload else engine_class(CPU, precision)
    model = copy.deepcopy(model)
    engine.prepare(model, adam_of(model) if adam else sgd_of(model))
    return engine


def sgd_of(model: nn.Module) -> torch.optim.Optimizer:
    """Its steps are as close as the gradients are."""
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)


def adam_of(model: nn.Module) -> torch.optim.Optimizer:
    """In the groups of real runs. A large epsilon: a small one makes steps of rounding noise."""
    return torch.optim.AdamW(parameter_groups(model, 0.05)[0], lr=1e-3, eps=1e-3)


def resumed(strategy: str, model: TimeChat, saved: dict[str, Any], folder: Path) -> Engine:
    """An engine that goes on from what `save` kept."""
    model = copy.deepcopy(model)
    load_weights(model, saved["model"], "saved")
    engine = prepared(strategy, model, adam=True)
    engine.load_state_dict(saved)
    engine.load(folder)
    return engine


def check_resume(strategy: str, model: TimeChat, folder: Path) -> dict[str, Any]:
    """A step, saved, one more; and one more from what was saved."""
    engine = prepared(strategy, model, adam=True)
    engine_steps(engine, 1, clip=CLIP)
    saved = {"model": engine.model_state(), **engine.state_dict()}
    engine.save(folder)
    if distributed.is_main_process():
        torch.save(saved, folder / "saved.pth")
    distributed.barrier()
    straight = engine_steps(engine, 1, clip=CLIP)
    saved = torch.load(folder / "saved.pth", weights_only=True)
    again = engine_steps(resumed(strategy, model, saved, folder), 1, clip=CLIP)
    return {"straight": vars(straight), "again": vars(again)}


def check_skip(strategy: str, model: TimeChat) -> dict[str, Any]:
    """A loss that is not finite on the second process, a gradient that is not on the first; then an ordinary step."""
    engine = prepared(strategy, model, adam=True)
    before, answers, rank = parameters_of(engine), [], distributed.rank()
    share = batches(model)[rank :: distributed.world_size()]
    total = accumulate(engine, share)
    answers.append(engine.check(total if rank == 0 else torch.tensor(torch.nan)).finite)
    engine.skip()
    for i in range(2):
        with engine.accumulate(last=i == 1):
            loss = engine.model(share[i])["sample_losses"].mean()
            engine.backward(loss * torch.inf if rank == 0 and i == 0 else loss)
    answers.append(engine.check(torch.tensor(1.0)).finite)
    engine.skip()
    after = parameters_of(engine)
    return {"finite": answers, "before": before, "after": after, "then": vars(engine_steps(engine, 1, clip=CLIP))}


def check_half(strategy: str) -> dict[str, Any]:
    """bf16, with frozen parts in bf16 and fp16 beside the fp32 ones that learn."""
    model = tiny_model("model.llama_precision=bf16", "model.vit_precision=bf16")
    model.ln_vision.half()
    engine = prepared(strategy, model, "bf16", adam=True)
    found = engine_steps(engine, 1, clip=CLIP)
    dtypes = {canonical_name(name): str(p.dtype) for name, p in engine.unwrap().named_parameters()}
    return {"losses": found.losses, "dtypes": dtypes}


def check_decoder(strategy: str) -> dict[str, Any]:
    """A decoder that learns whole, at the default precision: two steps in bf16."""
    model = tiny_model("model.llama_precision=auto", "model.freeze_llama=false")
    engine = prepared(strategy, model, "bf16", adam=True)
    found = engine_steps(engine, 2, clip=CLIP)
    dtypes = {str(p.dtype) for p in engine.unwrap().parameters() if p.requires_grad}
    return {"losses": found.losses, "dtypes": dtypes, "learns": list(found.weights)}


def check_whole(strategy: str, model: TimeChat) -> dict[str, Any]:
    """Three steps by gradient descent; what is a shard, and what the optimizer holds."""
    engine = prepared(strategy, model)
    found = engine_steps(engine, 3, gradients=True)
    named = engine.unwrap().named_parameters()
    return {
        "name": engine.name,
        "offloads": engine.name.startswith("deepspeed") and engine.model.zero_cpu_offload(),
        "steps": vars(found),
        "sharded": [canonical_name(name) for name, p in named if isinstance(p, DTensor) or hasattr(p, "ds_id")],
    }


def check(strategy: str, folder: Path) -> dict[str, Any]:
    """Everything, one after the other."""
    folder.mkdir(exist_ok=True)
    model = tiny_model()
    return {
        **check_whole(strategy, model),
        "clipped": vars(engine_steps(prepared(strategy, model), 1, clip=CLIP)),
        "resume": check_resume(strategy, model, folder),
        "skip": check_skip(strategy, model),
        "half": check_half(strategy),
        "decoder": check_decoder(strategy),
        "published": list(prepared(strategy, model).model_state() or {}),
    }


def main(folder: Path, strategies: list[str]) -> None:
    """Write `{rank}.pth`."""
    distributed.init_process_group(CPU)
    torch.set_num_threads(1)
    results = {strategy: check(strategy, folder / strategy) for strategy in strategies}
    torch.save(results, folder / f"{distributed.rank()}.pth")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
