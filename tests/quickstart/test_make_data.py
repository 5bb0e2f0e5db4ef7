"""The quick-start data: what the files say is what the pixels show, and the same arguments give the same bytes."""

from __future__ import annotations

import itertools
import json
import logging
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from quickstart.data import make as tool
from quickstart.data import scenes as scenes_module
from quickstart.data.annotations import RELEVANT_CLIPS, saliency
from quickstart.data.render import draw_frame, to_yuv420p
from quickstart.data.scenes import COLOURS, SHAPES, generator, plan_scenes
from timechat.datasets.readers import open_video
from timechat.errors import ConfigError
from timechat.text.conversation import IGNORE_INDEX, encode_conversation
from timechat.text.timestamps import frame_sentence
from timechat.text.tokenizers import load_qformer_tokenizer, load_tokenizer

TINY = {"seed": 3, "train_videos": 5, "val_videos": 2, "test_videos": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set, rendered in this process; tests must leave it as it is."""
    output = tmp_path_factory.mktemp("quickstart")
    tool.make_quickstart_data(output, **TINY, workers=1)
    return output


@pytest.fixture(scope="module")
def planned() -> dict[str, list[scenes_module.Scene]]:
    """The scenes of a default run."""
    return plan_scenes(seed=0, train_videos=240, test_videos=60)


def read(path: Path):
    return json.loads(path.read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def written_scenes(made: Path) -> list[tuple[Path, dict]]:
    return [
        (made / "videos" / split / scene["video"], scene)
        for split in ("train", "val", "test")
        for scene in read(made / split / "scenes.json")
    ]


def test_videos_have_the_promised_length_rate_and_size(made: Path):
    pairs = written_scenes(made)
    assert len(pairs) == 10
    assert sorted(path for path, _ in pairs) == sorted((made / "videos").rglob("*.*"))
    for path, scene in pairs:
        reader = open_video(str(path), None)
        assert len(reader.spans) == scene["duration"] * scene["fps"]
        assert reader.fps == pytest.approx(scene["fps"])
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.height, stream.width) == (scene["height"], scene["width"])
        assert np.abs(reader.spans[:, 0] - np.arange(len(reader.spans)) / scene["fps"]).max() < 1e-3


def test_shapes_are_on_screen_exactly_when_the_annotations_say(made: Path):
    """On the frames just before, at and after each boundary: the colour is there or it is not."""
    for path, scene in written_scenes(made):
        reader = open_video(str(path), 56)
        for event in scene["events"]:
            first, last = round(event["start"] * scene["fps"]), round(event["end"] * scene["fps"])
            final = len(reader.spans) - 1
            indices = {0, first - 1, first, (first + last) // 2, last, last + 1, final} & set(range(final + 1))
            frames = reader.read(sorted(indices))[0].transpose(0, 2, 3, 1).astype(int)
            for index, pixels in zip(sorted(indices), frames, strict=True):
                share = (np.abs(pixels - COLOURS[event["colour"]]).max(axis=2) < 45).mean()
                assert share > 0.1 if first <= index <= last else share < 0.01, (path.name, index, event)


def test_scenes_vary_within_the_promised_limits(planned: dict):
    scenes = planned["train"] + planned["test"]
    assert {len(s.events) for s in scenes} == {1, 2, 3}
    assert {(e.colour, e.shape) for s in scenes for e in s.events} == {(c, s) for c in COLOURS for s in SHAPES}
    assert {s.fps for s in scenes} == set(scenes_module.FRAME_RATES)
    assert {(s.width, s.height) for s in scenes} == set(scenes_module.SIZES)
    assert {s.duration for s in scenes} == set(scenes_module.DURATIONS)
    assert all(20 <= s.duration <= 99 and s.width % 2 == s.height % 2 == 0 for s in scenes)
    assert all(s.num_frames >= scenes_module.SAMPLED_FRAMES for s in scenes)
    for scene in scenes:
        assert scene.num_frames == scene.duration * scene.fps
        for what in ("colour", "shape"):
            assert len({getattr(e, what) for e in scene.events}) == len(scene.events), f"two events share a {what}"
        assert all(a.end < b.start for a, b in zip(scene.events, scene.events[1:], strict=False))


def test_events_start_and_end_on_uniformly_sampled_frames(planned: dict):
    for scene in planned["train"] + planned["test"]:
        frames = scene.num_frames
        seconds = set((np.arange(0, frames, frames / 16).astype(int) / float(scene.fps)).tolist())
        assert {bound for e in scene.events for bound in (e.start, e.end)} <= seconds
        if scene.duration % 16 == 0 and scene.fps.denominator == 1:
            assert all(second == int(second) for second in seconds)


def test_shapes_keep_a_learnable_size_and_stay_inside_the_frame(planned: dict):
    for scene in planned["train"] + planned["test"]:
        for event in scene.events:
            for radius in event.radii:
                assert radius * 56 / max(scene.width, scene.height) >= 13
                assert radius * 56 / min(scene.width, scene.height) <= 20
            for x, y in event.path:
                assert max(event.radii) <= x <= scene.width - max(event.radii)
                assert max(event.radii) <= y <= scene.height - max(event.radii)


def test_no_test_video_has_the_event_list_of_a_training_video():
    """So many one-event videos that some would be drawn twice. No validation video has one, either."""
    scenes = plan_scenes(seed=1, train_videos=3000, test_videos=600, val_videos=600)
    train, val, test = ({scene.signature for scene in scenes[split]} for split in ("train", "val", "test"))
    assert not train & (val | test)
    assert scenes["test"] == plan_scenes(seed=1, train_videos=3000, test_videos=600)["test"]


def test_training_answers_say_what_the_scenes_show(made: Path):
    by_video = {scene["video"]: scene for scene in read(made / "train/scenes.json")}
    grounding = read(made / "train/instruct_grounding.json")
    assert [item["video"] for item in grounding] == list(by_video)
    for item in grounding:
        events = by_video[item["video"]]["events"]
        asked = [[e for e in events if f"'{e['caption']}'" in turn["q"]] for turn in item["QA"]]
        assert sorted(e["start"] for (e,) in asked) == [e["start"] for e in events]
        for turn, (event,) in zip(item["QA"], asked, strict=True):
            assert turn["a"] == f"The given query happens in {event['start']}.0 - {event['end']}.0 seconds."
    dense = read(made / "train/instruct_dense_captions.json")
    assert [item["video"] for item in dense] == list(by_video)
    for item in dense:
        expected = [f"{e['start']}.0 - {e['end']}.0 seconds, {e['caption']}" for e in by_video[item["video"]]["events"]]
        assert item["QA"][0]["a"] == "  ".join(expected)


def test_highlight_answers_fit_their_template_and_their_event(made: Path):
    by_video = {scene["video"]: scene for scene in read(made / "train/scenes.json")}
    template = r"There are (\d+) highlight moments in the ([\d, ]+) second\. Their saliency scores are ([\d., ]+)\."
    items = read(made / "train/instruct_highlights.json")
    assert [len(item["QA"]) for item in items] == [len(scene["events"]) for scene in by_video.values()]
    for video, turn in ((item["video"], turn) for item in items for turn in item["QA"]):
        (event,) = [e for e in by_video[video]["events"] if e["caption"] in turn["q"]]
        number, seconds, scores = re.fullmatch(template, turn["a"]).groups()
        seconds, scores = [int(s) for s in seconds.split(", ")], [float(s) for s in scores.split(", ")]
        assert len(seconds) == len(scores) == int(number)
        assert all(s % 2 == 0 and event["start"] < s + 2 and s < event["end"] for s in seconds)
        assert seconds[0] <= event["start"] < seconds[0] + 2
        assert scores[0] == max(scores) == 4.0


def test_the_number_of_events_can_be_limited():
    scenes = plan_scenes(seed=0, train_videos=20, test_videos=5, max_events=2)
    assert {len(scene.events) for split in scenes.values() for scene in split} == {1, 2}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_benchmark_files_agree_with_the_scenes(made: Path, split: str):
    scenes = read(made / split / "scenes.json")
    events = [(scene, event) for scene in scenes for event in scene["events"]]
    grounding = read(made / split / "grounding.json")["annotations"]
    assert [(r["id"], r["image_id"], r["caption"], r["timestamp"], r["duration"]) for r in grounding] == [
        (i, s["video"], e["caption"], [e["start"], e["end"]], s["duration"]) for i, (s, e) in enumerate(events)
    ]
    assert (made / split / "charades_sta.txt").read_text().splitlines() == [
        f"{s['video'].removesuffix('.mp4')} {e['start']}.0 {e['end']}.0##{e['caption']}" for s, e in events
    ]
    for row, scene in zip(read(made / split / "dense_captions.json")["annotations"], scenes, strict=True):
        assert set(row) == {"image_id", "duration", "segments", "captions", "pure_cap", "caption", "id"}
        assert (row["image_id"], row["duration"]) == (scene["video"], scene["duration"])
        assert row["segments"] == [[e["start"], e["end"]] for e in scene["events"]]
        assert row["captions"] == [e["caption"] for e in scene["events"]]
        assert row["pure_cap"].split(". ") == [e["caption"] for e in scene["events"]]


def test_highlight_rows_have_the_form_of_qvhighlights(made: Path):
    rows = [json.loads(line) for line in (made / "test/highlights.jsonl").read_text().splitlines()]
    events = {
        (scene["video"], e["caption"]): (scene, e) for scene in read(made / "test/scenes.json") for e in scene["events"]
    }
    assert len(rows) == len(events) == len({row["qid"] for row in rows})
    for row in rows:
        scene, event = events[f"{row['vid']}.mp4", row["query"]]
        clips = row["relevant_clip_ids"]
        assert row["duration"] == scene["duration"]
        assert clips == list(range(clips[0], clips[-1] + 1))
        assert len(clips) <= RELEVANT_CLIPS
        assert all(2 * clip < event["end"] and 2 * clip + 2 > event["start"] for clip in clips)
        assert row["relevant_windows"] == [[2 * clips[0], 2 * clips[-1] + 2]]
        assert len(row["saliency_scores"]) == len(clips)
        assert all(len(s) == 3 and all(1 <= x <= 4 for x in s) for s in row["saliency_scores"])
        assert row["saliency_scores"][0] == [4, 4, 4]


def test_saliency_is_highest_when_the_shape_appears(planned: dict):
    for index, scene in enumerate(planned["test"]):
        for event in scene.events:
            scores = saliency(event, generator(0, "test", index))
            assert 2 * min(scores) <= event.start < 2 * min(scores) + 2
            for clip, given in scores.items():
                assert all(abs(4 - (clip - min(scores)) - score) <= 1 for score in given)
            assert scores[min(scores)] == [4, 4, 4]


def test_a_shape_is_drawn_largest_when_it_appears(planned: dict):
    """Which is what saliency says."""
    for scene in planned["test"]:
        empty = np.full((scene.height, scene.width, 3), 1, dtype=np.uint8)
        for event in scene.events:
            seconds = (event.start, (event.start + event.end) / 2, event.end)
            sizes = [int((draw_frame(scene, second, empty) != empty).any(axis=2).sum()) for second in seconds]
            assert sizes[0] > sizes[1] > sizes[2] > 0


def test_two_processes_write_the_same_bytes_as_one(made: Path, tmp_path: Path):
    tool.make_quickstart_data(tmp_path, **TINY, workers=2)
    assert contents(tmp_path) == contents(made)


def test_another_seed_gives_other_scenes():
    first, second = ([s.signature for s in plan_scenes(seed, 6, 2)["train"]] for seed in (0, 1))
    assert first != second


def test_a_second_run_returns_at_once(made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    monkeypatch.setattr(tool, "render_video", lambda *_: pytest.fail("rendered again"))
    with caplog.at_level(logging.INFO):
        manifest = tool.make_quickstart_data(made, **TINY)
    assert "complete already" in caplog.text
    assert manifest == read(made / "manifest.json")
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_an_interrupted_run_goes_on_where_it_stopped(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also when it left half a video behind, and when a finished file is damaged later."""
    render, rendered = tool.render_video, []

    def render_two_then_stop(scene, path):
        if len(rendered) == 2:
            path.with_name(f".{path.name}.123.tmp").write_bytes(b"half a video")
            raise KeyboardInterrupt
        rendered.append(path)
        render(scene, path)

    monkeypatch.setattr(tool, "render_video", render_two_then_stop)
    with pytest.raises(KeyboardInterrupt):
        tool.make_quickstart_data(tmp_path, **TINY, workers=1)
    assert not (tmp_path / "manifest.json").exists()

    again = []
    monkeypatch.setattr(tool, "render_video", lambda scene, path: (again.append(path), render(scene, path)))
    tool.make_quickstart_data(tmp_path, **TINY, workers=1)
    assert len(again) == 8
    assert not set(again) & set(rendered)
    assert contents(tmp_path) == contents(made)

    again.clear()
    rendered[0].write_bytes(b"damaged")
    tool.make_quickstart_data(tmp_path, **TINY, workers=1)
    assert again == rendered[:1]
    assert contents(tmp_path) == contents(made)


@pytest.fixture
def without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos that are empty files and no tokenizers: for tests about which run may touch what."""

    def touch(scene, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(scene.name)

    def no_vocabularies(output: Path, scenes, seed) -> dict:
        for name in ("bert", "llama"):
            (output / name).mkdir(exist_ok=True)
        return {}

    monkeypatch.setattr(tool, "render_video", touch)
    monkeypatch.setattr(tool, "_write_vocabularies", no_vocabularies)


def test_other_arguments_need_force(tmp_path: Path, without_work: None):
    tool.make_quickstart_data(tmp_path, **TINY, workers=1)
    fewer = TINY | {"seed": 4, "train_videos": 2}
    with pytest.raises(ConfigError, match=r"seed=3 \(asked: 4\), train_videos=5 \(asked: 2\).*--force"):
        tool.make_quickstart_data(tmp_path, **fewer, workers=1)
    tool.make_quickstart_data(tmp_path, **fewer, workers=1, force=True)
    assert sorted(p.name for p in (tmp_path / "videos/train").iterdir()) == ["train_0000.mp4", "train_0001.mp4"]
    assert read(tmp_path / "manifest.json")["seed"] == 4


def test_videos_of_unknown_origin_are_not_trusted(tmp_path: Path, without_work: None):
    tool.make_quickstart_data(tmp_path, **TINY, workers=1)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"no manifest\.json.*--force"):
        tool.make_quickstart_data(tmp_path, **TINY, workers=1)


@pytest.mark.parametrize("text", ["{half", "[]", '{"seed": 3}'])
def test_a_broken_manifest_is_an_error(tmp_path: Path, text: str):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=r"manifest\.json.*--force"):
        tool.make_quickstart_data(tmp_path, **TINY, workers=1)


@pytest.mark.parametrize(
    "option", ["--seed=-1", "--train-videos=0", "--test-videos=0", "--max-events=0", "--max-events=5", "--workers=0"]
)
def test_bad_arguments_are_named_without_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture, option: str):
    assert tool.main(["--output", str(tmp_path / "new"), option]) == 1
    assert option in caplog.text
    assert not (tmp_path / "new").exists()


def test_an_output_that_is_a_file_is_named_without_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "taken").write_text("")
    assert tool.main(["--output", str(tmp_path / "taken")]) == 1
    assert "taken" in caplog.text


def test_llama_folder_loads_and_fits_its_tokenizer(made: Path):
    model = LlamaForCausalLM.from_pretrained(made / "llama")
    tokenizer = load_tokenizer(made / "llama")
    config = model.config
    assert config.vocab_size == tokenizer.vocab_size == read(made / "manifest.json")["llama_vocab_size"] <= 600
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (128, 3, 4)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)
    assert [tokenizer.sp.id_to_piece(i) for i in range(3)] == ["<unk>", "<s>", "</s>"]
    assert config.rope_parameters["rope_theta"] == 10000.0
    weights = model.model.layers[0].mlp.down_proj.weight
    assert weights.std().item() == pytest.approx(344**-0.5, rel=0.05)
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[1, 5, 9]])).logits).all()


def test_llama_tokenizer_reads_every_conversation_back(made: Path):
    """No <unk>, single digits, only answers are supervised; a word that distinguishes events is the same piece after a
    space and after a quotation mark."""
    tokenizer = load_tokenizer(made / "llama")
    for path in sorted((made / "train").glob("instruct_*.json")):
        for item in read(path):
            enc = encode_conversation(item["QA"], [0.0, 2.5], tokenizer, num_video_tokens=4, max_txt_len=2048)
            assert tokenizer.unk_id not in enc.input_ids
            supervised = [i for i in enc.labels if i != IGNORE_INDEX]
            answers = tokenizer.sp.decode([i for i in supervised if i != tokenizer.eos_id])
            assert answers.split() == " ".join(turn["a"] for turn in item["QA"]).split()
            for turn in item["QA"]:
                assert tokenizer.decode(tokenizer.encode(turn["a"])) == turn["a"]
    pieces = tokenizer.sp.encode("27.5 of Ünknown", out_type=str)
    assert pieces[:5] == ["▁", "2", "7", ".", "5"]
    assert tokenizer.decode(tokenizer.encode("27.5 of Ünknown")) == "27.5 of Ünknown"
    for colour, shape in itertools.product(COLOURS, SHAPES):
        assert tokenizer.sp.encode(f"{colour} {shape}", out_type=str) == ["▁", colour, "▁", shape]
        assert tokenizer.sp.encode(f"'{colour} {shape}'", out_type=str)[1:] == [colour, "▁", shape, "'"]


def test_bert_vocabulary_knows_every_timestamp_sentence(made: Path):
    tokenizer = load_qformer_tokenizer(made / "bert")
    words = (made / "bert/vocab.txt").read_text().splitlines()
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(words) == len(set(words)) == read(made / "manifest.json")["bert_vocab_size"]
    ids = {tuple(tokenizer.encode(frame_sentence(tenth / 10))) for tenth in range(1000)}
    assert len(ids) == 1000
    assert all(words.index("[UNK]") not in row for row in ids)


def test_manifest_counts_what_is_there(made: Path):
    manifest = read(made / "manifest.json")
    files = {name: len(content) for name, content in contents(made).items() if name != "manifest.json"}
    assert manifest["files"] == files
    assert manifest["total_bytes"] == sum(files.values())
    assert {key: manifest[key] for key in TINY} == TINY
    assert manifest["events"]["test"] == len(read(made / "test/grounding.json")["annotations"])
    assert set(manifest["versions"]) >= {"av", "sentencepiece", "numpy"}


def test_colours_survive_the_conversion_to_planes() -> None:
    """White, black and pure red in BT.601's video range, by its formula."""
    picture = np.zeros((2, 6, 3), dtype=np.uint8)
    picture[:, 0:2], picture[:, 4:6] = 255, (255, 0, 0)
    planes = to_yuv420p(picture)
    assert planes.shape == (3, 6)
    assert planes[:2].tolist() == [[235, 235, 16, 16, 82, 82]] * 2
    assert planes[2].tolist() == [128, 128, 90, 128, 128, 240]
