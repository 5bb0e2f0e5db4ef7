"""Published numbers: the file is well-formed, and its score names are those of records."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from timechat.evaluation.literature import FILE, published_scores
from timechat.registry import registry

KNOWN = list(OmegaConf.load(FILE))
CATEGORIES = {"video_mme": {"short", "medium", "long"}, "tempcompass": {"captioning"}}  # beside main scores


@pytest.mark.parametrize("benchmark", KNOWN)
def test_rows_name_model_setting_scores_and_source(benchmark: str) -> None:
    rows = published_scores(benchmark)
    assert rows
    for row in rows:
        assert set(row) == {"model", "setting", "scores", "source"}
        assert all(isinstance(row[key], str) and row[key] for key in ("model", "setting", "source"))
        assert row["scores"]
        assert all(0 < value < 100 for value in row["scores"].values())


NOT_FOUND = {"activitynet_con"}  # no published score of it was at hand


@pytest.mark.parametrize("benchmark", sorted({*registry.names("benchmark")} - NOT_FOUND))
def test_each_benchmark_has_rows_with_its_own_score_names(benchmark: str) -> None:
    rows = published_scores(benchmark)
    assert rows
    further = {name for row in rows for name in row["scores"]} - set(
        registry.get_benchmark_class(benchmark).main_scores
    )
    assert further <= CATEGORIES.get(benchmark, set())


def test_the_paper_on_youcook2() -> None:
    assert published_scores("youcook2")[0]["scores"] == {"SODA_c": 1.2, "CIDEr": 3.4, "F1": 12.6}
    assert published_scores("unknown") == []


def test_what_a_caller_changes_stays_with_the_caller() -> None:
    """The file is read once for all."""
    published_scores("youcook2").clear()
    published_scores("mvbench")[0]["scores"].clear()
    assert published_scores("youcook2")
    assert published_scores("mvbench")[0]["scores"]
