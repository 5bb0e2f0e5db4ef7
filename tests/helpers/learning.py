"""A miniature of the quick start: videos of one event, trained on for a minute; prints its R@1 at IoU 0.5 as JSON.

    python -m helpers.learning DATA OUTPUT [KEY=VALUE ...]

DATA is what `make_quickstart_data` made, OUTPUT a folder for checkpoints; keys override the configs of all stages.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from quickstart.events import read_events, vocabulary_of
from timechat.config import load_config
from timechat.datasets import build_datasets
from timechat.errors import ParseFailure
from timechat.evaluation.metrics.intervals import grounding_iou
from timechat.evaluation.parsing import parse_grounding
from timechat.models import build_model
from timechat.runners import build_runner

CONFIGS = Path(__file__).parents[2] / "quickstart" / "configs"
SIZES = (
    "model.vit.embed_dim=48",
    "model.vit.depth=1",
    "model.qformer.hidden_size=48",
    "model.qformer.intermediate_size=96",
    "model.max_frame_pos=8",
    "model.window_size=4",
    "model.stride=4",
    "model.num_video_query_token=4",
    "run.device=cpu",
    "run.num_workers=0",
    "run.reference_world_size=1",
)
# Stage, steps, samples of a step, and what else is smaller than in the quick start.
STAGES = (
    ("1_frames", 60, 16, ("datasets.words.frame_counts=[4]",)),
    # So few steps leave the frame encoder something to learn.
    ("2_reading", 300, 16, ("datasets.words.frame_counts=[1,2,4,8]", "run.min_lr=1.0e-3", "model.freeze_vit=false")),
    ("5_events", 150, 32, ("datasets.times.sample_ratio=0", "datasets.captions.sample_ratio=0")),
)
FRAME_COUNTS = "[4,8]"


def stage_options(data: Path, output: Path, number: int, options: Sequence[str]) -> list[str]:
    """What makes a stage of the quick start small."""
    name, steps, batch, settings = STAGES[number]
    cfg = load_config(CONFIGS / f"{name}.yaml")
    info = (f"anno_dir={data}/train/dense_captions.json", f"videos_dir={data}/videos/train")
    own = [f"datasets.{entry}.build_info.{key}" for entry in cfg.datasets for key in info]
    own += [f"datasets.{entry}.cache_dir={data}/cache" for entry in cfg.datasets]
    if name == "5_events":
        own += [f"datasets.{entry}.frame_counts={FRAME_COUNTS}" for entry in cfg.datasets]
        own += ["datasets.grounding_of_frames.frames_per_event=null"]  # there is one event
    before = [f"{output / earlier / 'checkpoint_0.pth'}" for earlier, *_ in STAGES[:number]]
    chained = [f"model.vit_model={before[0]}", f"model.ckpt={before[-1]}", "model.ckpt_2="] if before else []
    folders = [
        f"model.llama_model={data}/llama",
        f"model.qformer_tokenizer={data}/bert",
        f"run.output_dir={output / name}",
    ]
    if name in ("1_frames", "2_reading"):
        words = vocabulary_of(read_events(data / "train" / "dense_captions.json", data / "videos" / "train"), str(data))
        own += [f"model.num_words={len(words)}"]
    sizes = [*SIZES, f"run.iters_per_epoch={steps}", f"run.batch_size_train={batch}"]
    return [*sizes, *own, *folders, *chained, *settings, *options]


def learn(data: Path, output: Path, options: Sequence[str]) -> float:
    """Train all stages; the share of test videos whose event is found with an IoU of 0.5 or more."""
    for number, (name, *_) in enumerate(STAGES):
        chosen = [option for option in options if number or not option.startswith("model.qformer_text")]
        build_runner(load_config(CONFIGS / f"{name}.yaml", stage_options(data, output, number, chosen))).train()
        AcceleratorState._reset_state(True)
    last = len(STAGES) - 1
    tested = [f"model.ckpt_2={output / STAGES[last][0] / 'checkpoint_0.pth'}", "datasets.grounding.frame_counts=[]"]
    tested += [f"datasets.grounding.build_info.anno_dir={data}/test/dense_captions.json"]
    tested += [f"datasets.grounding.build_info.videos_dir={data}/videos/test"]
    path = CONFIGS / f"{STAGES[last][0]}.yaml"
    return recall(load_config(path, [*stage_options(data, output, last, options), *tested]))


def recall(cfg) -> float:
    """R@1 at IoU 0.5 of the model of a config on its dataset `grounding`, whose answers are the truth."""
    model = build_model(cfg.model)
    (dataset,) = (dataset for dataset in build_datasets(cfg) if dataset.name == "grounding")
    generator, hits = torch.Generator().manual_seed(0), []
    for index in range(len(dataset)):
        video = dataset.read_video(index, generator)
        (turn,) = dataset.conversation(index, video.seconds, video.seconds, generator)
        frames = dataset.processor(video.frames, generator)
        answer = model.generate([frames], [video.seconds], [turn["q"]], system=" ", max_new_tokens=24)[0]
        try:
            found = parse_grounding(answer)[:1]
        except ParseFailure:
            found = []
        hits.append(bool(found) and grounding_iou(found, parse_grounding(turn["a"]))[0, 0] >= 0.5)
    return sum(hits) / len(hits)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sys.stdout.write(json.dumps({"recall": learn(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])}) + "\n")
