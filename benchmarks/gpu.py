"""How fast TimeChat is on one GPU at its published size: training and answering, with random weights made there.

    python benchmarks/gpu.py [--minutes 9] [--json FILE] [--only GROUP ...]
    python benchmarks/gpu.py --device cpu --size tiny        # shows that it runs

Nothing is downloaded or read. Cases differ in batch, checkpointing of the decoder's layers, torch.compile and Liger's
kernels, of which it is also seen whether they compute the plain numbers; one that does not fit, or that this version or
machine cannot do, says so, and the next goes on. The JSON file is written anew after each case. Figures go into
RESULTS.md and, as the share of the peak that is reached, into timechat/runners/peak_flops.py, from which
`train.py --dry-run` tells the time to expect.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.full_size.cases import COMPARISON, Measurer, Result, groups
from benchmarks.full_size.models import Sizes
from benchmarks.speed.printing import be_quiet, say
from timechat.io import write_json
from timechat.runners.peak_flops import peak_flops

SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices of the rate
PRODUCTS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cases that there is time for, and print each."""
    asked = _arguments(arguments)
    started = time.monotonic()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        say("no CUDA GPU is visible to torch; --device cpu --size tiny shows that this runs")
        return 1
    be_quiet()
    rate = matmul_rate(device)
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "size": asked.size,
        "matmul_tflop_per_s": rate / 1e12,
        "matmul_share_of_peak": rate / peak if (peak := peak_flops(device)) else None,
    }
    say(", ".join(f"{name} {value}" for name, value in facts.items()))
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="timechat_gpu_") as folder:
        sizes = Sizes(asked.size, Path(folder))
        measurer = Measurer(sizes, device, rate, started + 60 * asked.minutes, asked.seconds)
        for group in groups(*((asked.batches, asked.batches) if asked.batches else ())):
            if asked.only and group.name not in asked.only:
                continue
            for result in measurer.run(group):
                results.append(result)
                say(line(result))
                if asked.json:
                    write_json(asked.json, {"machine": facts, "cases": results})
    lost = sum(result["status"] != "ok" for result in results)
    say(f"{len(results) - lost} cases measured, {lost} not, in {time.monotonic() - started:.0f} s")
    return 0


def matmul_rate(device: torch.device) -> float:
    """Operations a second of a large product of matrices, in bf16 on a GPU, in fp32 on a CPU; the best of some."""
    side = SIDES[device.type]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(PRODUCTS):
            product = one @ other
        float(product[0, 0])  # waits
        best = min(best, time.perf_counter() - started)
    return PRODUCTS * 2.0 * side**3 / best


def line(result: dict[str, Any]) -> str:
    """A case for people."""
    name = f"{result['kind']}, batch {result['batch']}"
    if result["kind"] == "training":
        switched = [word for word in ("compile", "liger") if result[word]]
        name += f", checkpointing {result['checkpointing']}" + "".join(f", {word}" for word in switched)
    if result["status"] != "ok":
        return f"{name}: {result['status']}"
    if result["kind"] == COMPARISON:
        return f"{name}: {_agreement(result)}"
    parts = ", ".join(f"{part} {1000 * seconds:.0f} ms" for part, seconds in result["parts_s"].items())
    return (
        f"{name}: {result['step_s']:.3f} s (the first {result['first_step_s']:.1f} s), {result['videos_per_s']:.2f} "
        f"videos/s, {result['tflop_per_s']:.1f} TFLOP/s = {result['share_of_matmul']:.0%} of a matrix product, "
        f"{result['peak_gib']:.1f} GiB; {parts}"
    )


def _agreement(result: dict[str, Any]) -> str:
    """Whether they agree, and the figures behind that."""
    parts = [
        f"{part} up to {result[f'{part}_largest']:.3g}, largest difference {result[f'{part}_difference']:.3g}, "
        f"error against fp32 {result[f'{part}_error']:.3g}, of the plain ones {result[f'{part}_plain_error']:.3g}"
        for part in ("logits", "gradient")
    ]
    return "; ".join(["agree" if result["agrees"] else "DO NOT AGREE", *parts])


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no further case begins")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=["7b", "tiny"], default="7b")
    parser.add_argument("--seconds", type=float, default=4.0, help="for the steps of a case")
    parser.add_argument("--batches", type=_numbers, help="in place of 1, 2, 4, 8 and, for answers, 1, 4, 16")
    names = [group.name for group in groups()]
    parser.add_argument("--only", nargs="+", choices=names, metavar="GROUP", help=f"of: {', '.join(names)}")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
