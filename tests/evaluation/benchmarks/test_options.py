"""Options of a benchmark's own: from the command line and from YAML, checked against the benchmark's schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from timechat.errors import ConfigError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.charades_sta import CharadesSTA
from timechat.evaluation.benchmarks.options import complete_options, options_help, own_options, parse_options
from timechat.evaluation.benchmarks.qvhighlights import CLIP_OF_TIME
from timechat.registry import registry
from timechat.schema import Section, key, section


@dataclass
class WindowConfig(Section):
    """Options of an option."""

    width: float = key(1.5, "in seconds", least=0)


@dataclass
class ShiftedConfig(Section):
    """Options of all kinds."""

    shift: float = key(0.0, "seconds that every answer is moved by", least=-5, most=5)
    name: str | None = key(None, "a text")
    window: WindowConfig = section(WindowConfig)


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a benchmark that only this test has."""
    for tables in (registry._tables, registry._configs):
        monkeypatch.setitem(tables, "benchmark", dict(tables["benchmark"]))

    @registry.register_benchmark("shifted", config=ShiftedConfig)
    class Shifted(CharadesSTA):
        def __init__(self, **options: Any):
            self.options = options

    return "shifted"


def test_the_command_line_says_key_and_value(shifted: str) -> None:
    assert parse_options(["shift=0.5", "window.width=2"], shifted) == {"shift": 0.5, "window": {"width": 2}}
    assert parse_options(["name=[exp #3"], shifted) == {"name": "[exp #3"}  # a text as it is
    assert parse_options(["clip_of_time=end", "clip_of_time=start"], "qvhighlights") == {"clip_of_time": "start"}
    with pytest.raises(ConfigError, match="--benchmark-options: expected KEY=VALUE, got 'start', '=start'"):
        parse_options(["start", "a=1", "=start"], shifted)
    assert "qvhighlights: clip_of_time=published" in options_help()
    assert "charades_sta" not in options_help()


def test_options_reach_the_benchmark_and_the_rest_is_at_its_default(shifted: str) -> None:
    assert get_benchmark("qvhighlights").clip_of_time is CLIP_OF_TIME["published"]
    assert get_benchmark("qvhighlights", {"clip_of_time": "start"}).clip_of_time is CLIP_OF_TIME["start"]
    benchmark = get_benchmark(shifted, {"shift": 2, "window": {"width": 3.0}})
    assert benchmark.options == {"shift": 2, "name": None, "window": {"width": 3.0}}
    assert get_benchmark(shifted).options == {"shift": 0.0, "name": None, "window": {"width": 1.5}}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qvhighlights", {"clip_of_time": "end"}, "--benchmark-options clip_of_time=end: choose published or start"),
        ("qvhighlights", {"clip_of_time": 5}, "--benchmark-options clip_of_time=5 must be a text"),
        ("qvhighlights", {"clip_of_tim": "start"}, "clip_of_tim=start: unknown option (did you mean 'clip_of_time'?)"),
        ("charades_sta", {"clip_of_time": "start"}, "clip_of_time=start: charades_sta has no options"),
        ("shifted", {"shift": 6}, "shift=6: must be from -5 to 5 (benchmark shifted)"),
        ("shifted", {"window": {"width": -1}}, "window.width=-1: must be 0 or more"),
        ("shifted", {"window": 3}, "window=3: is a section; give window.KEY=VALUE"),
    ],
)
def test_wrong_options_are_named(shifted: str, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_benchmark(name, options)
    assert message in str(caught.value)


def test_all_problems_at_once(shifted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        complete_options(shifted, {"shift": 6, "nam": "x"})
    assert len(str(caught.value).splitlines()) == 2


def test_a_section_of_yaml_holds_options_beside_other_keys(shifted: str) -> None:
    assert own_options(shifted, {"limit": 3, "shift": 1.0}) == {"shift": 1.0}
    assert own_options("charades_sta", {"limit": 3}) == {}
