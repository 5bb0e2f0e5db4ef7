"""The cases: what each sets, and what it gives."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import torch

from benchmarks.full_size.agreement import agreement
from benchmarks.full_size.clock import Clock
from benchmarks.full_size.models import CHECKPOINTED, NotAvailable, Setting, Sizes, random_model, random_runner
from benchmarks.speed.sizes import batch, question, videos
from timechat.errors import ConfigError
from timechat.models import TimeChat
from timechat.models.flops import TimeChatFlops
from timechat.models.liger import check_liger
from timechat.runners.logs import peak_memory
from timechat.runners.prefetching import build_fetcher

COMPARISON = "Liger against plain"
BATCHES, ANSWERED = (1, 2, 4, 8), (1, 4, 16)
LEAST_STEPS = 3
RATE = 1e-6

Result = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Cases of one model that differ in the batch; without a setting they answer, or compare Liger with plain."""

    setting: Setting | None
    batches: tuple[int, ...]
    compares: bool = False

    @property
    def name(self) -> str:
        """For the command line, such as `half-compile-liger`."""
        if self.setting is None:
            return "liger" if self.compares else "answers"
        switched = [word for word in ("compile", "liger") if getattr(self.setting, word)]
        return "-".join([self.setting.checkpointing, *switched])

    def cases(self) -> Iterator[Result]:
        """What identifies each."""
        kind = {"kind": "training", **asdict(self.setting)} if self.setting else {"kind": "inference"}
        if self.compares:
            kind = {"kind": COMPARISON}
        yield from ({**kind, "batch": count} for count in self.batches)


def groups(batches: tuple[int, ...] = BATCHES, answered: tuple[int, ...] = ANSWERED) -> list[Group]:
    """All groups, what matters most first: time may not suffice for the last ones."""
    (first, *plain), liger = (
        [
            Group(Setting(checkpointing, compiled, liger), batches)
            for compiled in (False, True)
            for checkpointing in reversed(CHECKPOINTED)
        ]
        for liger in (False, True)
    )
    # What Liger replaces stays replaced in part: nothing plain comes after it.
    return [first, Group(None, answered), *plain, Group(None, batches[:2][-1:], compares=True), *liger]


@dataclass
class Measurer:
    """Runs cases.

    Attributes:
        sizes: of the model.
        device: that computes.
        rate: operations a second of a large product of matrices.
        until: when, by time.monotonic, no further case begins.
        seconds: for the steps of a case, of which there are a few at least.
    """

    sizes: Sizes
    device: torch.device
    rate: float
    until: float
    seconds: float = 4.0

    def run(self, group: Group) -> Iterator[Result]:
        """Each case with its result, or why there is none."""
        if group.compares:
            yield from self._compared(group)
            return
        make = self._training if group.setting else self._answering
        step: Callable[[int], tuple[Callable[[], None], float]] | None = None
        clock, trouble = Clock(self.device), ""
        for case in group.cases():
            if not trouble and time.monotonic() > self.until:
                trouble = "left out: no time"
            if not trouble and step is None:
                with _caught(self.device) as caught:
                    step = make(group, clock)
                trouble = caught.get("trouble", "")
            if trouble:
                yield {**case, "status": trouble}
                continue
            assert step is not None
            result: Result = {}
            with _caught(self.device) as caught:
                result = self._measure(*step(case["batch"]), clock, case["batch"])
            # A larger batch would not fit either.
            trouble = caught.get("trouble", "")
            yield {**case, "status": trouble or "ok", **result}
        step = None
        _tidy(self.device)

    def _compared(self, group: Group) -> Iterator[Result]:
        """The decoder with Liger's kernels beside itself without them, both with the weights of one model."""
        for case in group.cases():
            result: Result = {}
            caught = {"trouble": "left out: no time"} if time.monotonic() > self.until else {}
            if not caught:
                with _caught(self.device) as caught:
                    result = self._agreement(case["batch"])
            yield {**case, "status": caught.get("trouble", "ok"), **result}
        _tidy(self.device)

    def _agreement(self, count: int) -> Result:
        try:
            check_liger(self.device)
        except ConfigError as error:
            raise NotAvailable(str(error)) from error
        model = random_model(self.sizes.config(Setting("none"), self.device).model, self.device)
        assert isinstance(model, TimeChat)
        lengths = [self.sizes.tokens - number for number in range(count)]
        return agreement(model.llama_model, lengths, model.use_liger)

    def _training(self, group: Group, clock: Clock) -> Callable[[int], tuple[Callable[[], None], float]]:
        """Makes steps of a batch, and says how many operations one has."""
        assert group.setting
        runner = random_runner(self.sizes.config(group.setting, self.device), self.device, clock)

        def of(count: int) -> tuple[Callable[[], None], float]:
            # The runner weighs a sample as one of its own batch size: that changes the loss, and no time.
            samples = batch(runner.engine.unwrap(), [self.sizes.frames] * count, self.sizes.tokens)
            samples = samples.pin_memory() if self.device.type == "cuda" else samples
            fetcher = build_fetcher(repeat([samples]), self.device, runner.meter)

            def step() -> None:
                batches, _ = fetcher.fetch()
                runner.step(batches, RATE, runner.steps, fetcher.moved(batches))
                runner.steps += 1
                clock.mark("optimizer")

            return step, runner.count_flops(samples)

        return of

    def _answering(self, group: Group, clock: Clock) -> Callable[[int], tuple[Callable[[], None], float]]:
        """Encodes clips and answers a question about each."""
        section = self.sizes.config(Setting("none"), self.device).model
        model = random_model(section, self.device).eval().requires_grad_(False)
        assert isinstance(model, TimeChat)
        clock.watch(model)
        counter = TimeChatFlops(model)

        def of(count: int) -> tuple[Callable[[], None], float]:
            frames, seconds = videos([self.sizes.frames] * count, model.cfg.image_size)
            prompts = [question(model, seconds[0], self.sizes.tokens, number) for number in range(count)]

            def step() -> None:
                model.generate(frames, seconds, prompts, max_new_tokens=self.sizes.new_tokens)
                clock.mark("decoder")

            read = count * (self.sizes.tokens + self.sizes.new_tokens)
            flops = counter.video([self.sizes.frames] * count, seconds) + counter.decoder(read)
            return step, flops + counter.head(count * self.sizes.new_tokens)

        return of

    def _measure(self, step: Callable[[], None], flops: float, clock: Clock, videos_a_step: int) -> Result:
        started = time.perf_counter()
        clock.start()
        step()
        clock.synchronise()
        first = time.perf_counter() - started
        step()  # the optimizer's state is there now
        clock.synchronise()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        walls, parts = [], []
        started = time.perf_counter()
        while len(walls) < LEAST_STEPS or (
            time.perf_counter() - started < self.seconds and time.monotonic() < self.until
        ):
            begun = time.perf_counter()
            clock.start()
            step()
            parts.append(clock.parts())
            walls.append(time.perf_counter() - begun)
        wall = statistics.median(walls)
        names = list(dict.fromkeys(name for one in parts for name in one))
        shares = {name: statistics.median(one.get(name, 0.0) for one in parts) for name in names}
        # What the host does while the device has nothing to do shows in no event.
        shares["waiting"] = shares.get("waiting", 0.0) + max(0.0, wall - sum(shares.values()))
        return {
            "step_s": wall,
            "first_step_s": first,
            "videos_per_s": videos_a_step / wall,
            "tflop_per_s": flops / wall / 1e12,
            "share_of_matmul": flops / wall / self.rate,
            "peak_gib": peak_memory(self.device) / 2**30,
            "parts_s": shares,
        }


@contextmanager
def _caught(device: torch.device) -> Iterator[dict[str, str]]:
    """Notes what kept a case from being measured; the next one goes on."""
    caught: dict[str, str] = {}
    try:
        yield caught
    except torch.OutOfMemoryError:
        caught["trouble"] = "out of memory"
    except NotAvailable as error:
        caught["trouble"] = f"not available: {error}"
    except Exception as error:  # whatever it is, minutes on a GPU are too dear to lose the others
        caught["trouble"] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if caught:
        _tidy(device)


def _tidy(device: torch.device) -> None:
    """Give memory back that nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
