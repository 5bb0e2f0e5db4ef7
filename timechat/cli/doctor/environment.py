"""Section 1: packages, GPUs, and whether the precisions of the config fit this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform

import torch
from omegaconf import DictConfig
from packaging.requirements import Requirement

from timechat.cli.doctor.report import Report, ReportSection, size_text
from timechat.datasets.readers import HAS_DECORD
from timechat.device import resolve_device, resolve_precision
from timechat.errors import ConfigError

PACKAGES = (
    *("torch", "torchvision", "transformers", "peft", "timm", "accelerate", "safetensors", "tokenizers"),
    *("decord", "av"),
)


# What model.video_reader means.
_READERS = {
    "auto": "decord where it is proven right, else with PyAV",
    "decord": "decord; files that it would read wrong are refused",
    "pyav": "PyAV",
}


def check_environment(report: Report, cfg: DictConfig) -> torch.device:
    """Check packages, GPUs and precisions.

    Returns:
        The device for the later sections: `run.device`, or the CPU if that is not available.
    """
    with report.section("1. Environment") as section:
        _packages(section)
        _reader(section, cfg.model.video_reader)
        device = _device(section, cfg)
        _precisions(section, cfg, device)
    return device


def _packages(section: ReportSection) -> None:
    section.say(f"Python {platform.python_version()} on {platform.platform()}")
    required, outside = _requirements(), []
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # On some systems another package provides the module, such as eva-decord, or none does.
            found = importlib.util.find_spec(name) is not None
            section.say(f"{name}: {'installed under another name, version unknown' if found else 'not installed'}")
            continue
        section.say(f"{name} {version}")
        if name in required and not required[name].specifier.contains(version, prereleases=True):
            outside.append(f"{name} {version} (wanted {required[name].specifier})")
    if outside:
        section.warning(f"Versions outside the supported range: {', '.join(outside)}; install the project again.")
    else:
        section.ok("All packages are installed, in supported versions.")


def _reader(section: ReportSection, choice: str) -> None:
    section.say(f"videos are read with {_READERS[choice] if HAS_DECORD else _READERS['pyav']}")
    if choice == "decord" and not HAS_DECORD:
        section.error("model.video_reader=decord, but decord cannot be imported here; set model.video_reader=auto.")


def _requirements() -> dict[str, Requirement]:
    """The requirements of the installed package; nothing if it runs from a checkout without installation."""
    try:
        lines = importlib.metadata.requires("timechat") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def _device(section: ReportSection, cfg: DictConfig) -> torch.device:
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        section.say(f"GPU {index}: {gpu.name}, {size_text(total)} memory, {size_text(free)} of it free")
        if free < total / 2:
            section.warning(f"More than half of the memory of GPU {index} is taken by other programs.")
    try:
        device = resolve_device(cfg.run.device)
    except ConfigError as error:
        section.error(str(error))
        return torch.device("cpu")
    section.say(f"run.device={cfg.run.device}: the model runs on {device}")
    if device.type == "cpu":
        section.warning("No GPU is used: on a CPU the published 7B model takes many minutes for an answer.")
    return device


def _precisions(section: ReportSection, cfg: DictConfig, device: torch.device) -> None:
    model, problems = cfg.model, 0
    bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    section.say(f"bf16 on {device}: {'supported' if bf16 else 'not supported by the hardware'}")
    for key in ("vit_precision", "llama_precision"):
        learns = key == "llama_precision" and not model.freeze_llama
        section.say(f"model.{key}={model[key]}" + (" (fp32: model.freeze_llama=false trains it)" if learns else ""))
        if model[key] == "fp16" and device.type == "cpu":
            problems += 1
            section.warning(f"model.{key}=fp16 on a CPU is slow or not supported; fp32 or bf16 is better.")
        if model[key] == "bf16" and not bf16:
            problems += 1
            section.warning(f"model.{key}=bf16 is only emulated on this GPU, which is slow; set it to fp16.")
    if not model.freeze_vit and model.vit_precision != "fp32":
        problems += 1
        section.error(
            f"model.freeze_vit=false trains the ViT: set model.vit_precision=fp32, not {model.vit_precision}."
        )
    if model.low_resource and (device.type == "cpu" or importlib.util.find_spec("bitsandbytes") is None):
        problems += 1
        section.error("model.low_resource=true needs a CUDA GPU and the package bitsandbytes; set it to false.")
    try:
        section.say(f"training precision: {resolve_precision(cfg.run.precision, cfg.run.amp, device)}")
    except ConfigError as error:
        problems += 1
        section.error(str(error))
    if not problems:
        section.ok("The precisions of the config fit this machine.")
