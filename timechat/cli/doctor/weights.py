"""Sections 3 and 4: where every part's weights come from, and whether their values look healthy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import torch
from omegaconf import DictConfig
from torch import Tensor

from timechat.cli.doctor.report import Report, ReportSection, size_text, some
from timechat.errors import TimeChatError
from timechat.models import TimeChat, build_model
from timechat.models.checkpoints import LoadReport, canonical_name, part_in_model
from timechat.models.required_files import missing_model_files

LORA = "LoRA"
LLAMA = "llama_model"

# The published file that contains a part, for parts that no configured file contained.
_SOURCES = {
    "visual_encoder": "model.vit_model (eva_vit_g.pth)",
    "ln_vision": "model.q_former_model (instruct_blip_vicuna7b_trimmed.pth)",
    "Qformer": "model.q_former_model (instruct_blip_vicuna7b_trimmed.pth) or model.ckpt (timechat_7b.pth)",
    "query_tokens": "model.q_former_model (instruct_blip_vicuna7b_trimmed.pth) or model.ckpt (timechat_7b.pth)",
    "video_Qformer": "model.ckpt (VL_LLaMA_2_7B_Finetuned.pth or timechat_7b.pth)",
    "video_query_tokens": "model.ckpt (VL_LLaMA_2_7B_Finetuned.pth or timechat_7b.pth)",
    "video_frame_position_embedding": "model.ckpt (VL_LLaMA_2_7B_Finetuned.pth or timechat_7b.pth)",
    "llama_proj": "model.ckpt (VL_LLaMA_2_7B_Finetuned.pth or timechat_7b.pth)",
    LORA: "model.ckpt (timechat_7b.pth); before training, this is as it should be",
}
_ADAM_BYTES = 12  # gradient and two moments of a trainable parameter, in fp32


def check_weights(report: Report, cfg: DictConfig) -> TimeChat | None:
    """Build the model with all its weights; None if files are missing, or, with a finding, if that fails."""
    with report.section("3. Weights") as section:
        if any(missing_model_files(cfg.model)):
            section.say("Skipped: files of the model are missing, see section 2.")
            return None
        try:
            model = cast(TimeChat, build_model(cfg.model))
        except (TimeChatError, RuntimeError, MemoryError) as error:
            section.error(f"The model cannot be built or loaded. {type(error).__name__}: {error}")
            return None
        for load_report in model.load_reports:
            _say_report(section, load_report)
        _sources(section, model, cfg.model)
    return model


def _say_report(section: ReportSection, loaded: LoadReport) -> None:
    parts = Counter(map(part_in_model, loaded.loaded))
    section.say("; ".join([f"{loaded.source}: {len(loaded.loaded)} tensors loaded", *loaded.notes]))
    for part, count in parts.items():
        section.say(f"    {count} of {part}")
    for names, meaning in (
        (loaded.resized, "interpolated, because their sizes differ in the config"),
        (loaded.buffers, "are buffers, ignored by name, as they should be"),
        (loaded.unused, "are left out on purpose by the config"),
    ):
        if names:
            section.say(f"    {len(names)} {meaning}: {some(names, 3)}")
    if loaded.foreign:
        prefixes = sorted({".".join(name.split(".")[:2]) for name in loaded.foreign})
        section.say(f"    {len(loaded.foreign)} belong to other models and are ignored: {some(prefixes)}")
    if loaded.resized:
        section.warning(
            f"{loaded.source}: {some(loaded.resized)} had to be interpolated; did you mean another model.image_size "
            "or model.max_frame_pos? Without training on the new size, answers get worse."
        )
    if loaded.unexpected:
        section.warning(
            f"{loaded.source}: {len(loaded.unexpected)} keys of our parts fit nothing and were ignored "
            f"(model.allow_unexpected=true): {some(loaded.unexpected)}."
        )


def _sources(section: ReportSection, model: TimeChat, cfg: DictConfig) -> None:
    """Every part, and the last file that contains it."""
    sources = {LLAMA: f"model.llama_model={cfg.llama_model}"}
    for loaded in model.load_reports:
        sources |= {part_in_model(name): loaded.source for name in loaded.loaded}
    parts = list(dict.fromkeys(part_in_model(name) for name, _ in model.named_parameters()))
    initial = [part for part in parts if part not in sources]
    section.say("where the parts come from:")
    for part in parts:
        section.say(f"    {part}: {sources.get(part, 'no file, random initial values')}")
    for part in initial:
        source = _SOURCES.get(part, "a checkpoint of this model in model.ckpt; before training none is needed")
        section.warning(f"{part} keeps its random initial values: no file contains it. Its source is {source}.")
    if not initial:
        section.ok("Every part of the model has weights from a file.")


# Numbers --------------------------------------------------------------------------------------------------------------


@dataclass
class _Numbers:
    """Sums over the tensors of one part."""

    tensors: int = 0
    parameters: int = 0
    trainable: int = 0
    num_bytes: int = 0
    dtypes: set[str] = field(default_factory=set)

    def add(self, p: Tensor) -> None:
        self.tensors += 1
        self.parameters += p.numel()
        self.trainable += p.numel() * p.requires_grad
        self.num_bytes += p.numel() * p.element_size()
        self.dtypes.add(str(p.dtype).removeprefix("torch."))

    def row(self, name: str) -> list[str]:
        millions = [f"{count / 1e6:.3f}" for count in (self.parameters, self.trainable)]
        return [name, str(self.tensors), *millions, "+".join(sorted(self.dtypes)), size_text(self.num_bytes)]


def check_parameters(report: Report, model: TimeChat | None, device: torch.device) -> None:
    """The table of parts, the memory that they take, and tensors with unhealthy values."""
    with report.section("4. Parameters") as section:
        if model is None:
            section.say("Skipped: there is no model, see section 3.")
            return
        parts: dict[str, _Numbers] = {}
        total = _Numbers()
        for name, p in model.named_parameters():
            parts.setdefault(part_in_model(name), _Numbers()).add(p)
            total.add(p)
        head = ["part", "tensors", "millions", "trainable", "dtype", "memory"]
        section.table([head, *(numbers.row(name) for name, numbers in parts.items()), total.row("total")])
        _memory(section, total, device)
        _health(section, model)


def _memory(section: ReportSection, total: _Numbers, device: torch.device) -> None:
    section.say(
        f"memory of the weights: {size_text(total.num_bytes)}; training adds about "
        f"{size_text(total.trainable * _ADAM_BYTES)} for gradients and AdamW's moments, and activations"
    )
    if device.type == "cuda":
        capacity = torch.cuda.get_device_properties(device).total_memory
        if total.num_bytes > 0.95 * capacity:
            section.error(
                f"The weights take {size_text(total.num_bytes)}, the GPU has {size_text(capacity)}: lower "
                "model.llama_precision and model.vit_precision, or set model.low_resource=true."
            )


def _health(section: ReportSection, model: TimeChat) -> None:
    sick, empty, untrained, lora = [], [], [], 0
    for name, p in model.named_parameters():
        name = canonical_name(name)
        if not torch.isfinite(p).all():
            sick.append(name)
        if ".lora_B." in name:
            lora += 1
            untrained += [] if p.any() else [name]
        elif not name.endswith("bias") and not p.any():
            empty.append(name)
    if sick:
        section.error(
            f"{len(sick)} tensors contain NaN or infinite numbers: {some(sick)}; the file is damaged, or training "
            "diverged: use an earlier checkpoint."
        )
    if empty:
        section.warning(f"{len(empty)} tensors are all zero, which training never leaves: {some(empty)}.")
    if untrained:
        which = "all" if len(untrained) == lora else f"{len(untrained)} of {lora}"
        section.warning(
            f"LoRA is untrained: {which} of its B matrices are zero, so it changes nothing. That is right before "
            "training and wrong for evaluation: name a trained checkpoint in model.ckpt."
        )
    if not sick + empty + untrained:
        section.ok("Every tensor has finite values, and none is all zero.")
