"""The pages: links, pictures and paths lead somewhere, commands exist, the drawing is what its script draws."""

from __future__ import annotations

import re
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from timechat.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
VERB = re.compile(r"(?<![\w./-])(?<!from )timechat +([a-z][a-z-]*)")


PLACE = re.compile(r"(?<![\w./-])(?:timechat|quickstart|tests|docs|train_configs|eval_configs|prompts)/[\w./*{\[-]*")


def links(page: Path) -> list[str]:
    """The relative links of a page, without code in which brackets mean something else."""
    found = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_targets(page: Path) -> list[str]:
    missing = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    return missing


def unknown_verbs(text: str) -> list[str]:
    """What a page calls `timechat VERB` in code without there being such a verb."""
    return [verb for code in CODE.findall(text) for verb in VERB.findall(code) if verb not in VERBS]


def missing_places(text: str) -> list[str]:
    """Files and folders of the repository that a page names in code and that are not there."""
    places = [place.rstrip(".") for code in CODE.findall(text) for place in PLACE.findall(code)]
    return [place for place in places if not set(place) & set("*{[") and not (ROOT / place).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    assert missing_targets(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_exists(page: Path) -> None:
    assert unknown_verbs(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_place_exists(page: Path) -> None:
    assert missing_places(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_pages_start_exist(page: Path) -> None:
    for module in re.findall(r"python -m ((?:timechat|quickstart)[\w.]*)", page.read_text(encoding="utf-8")):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_the_checks_find_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading, here\n[a](#a-heading-here) [b](#none) ![c](gone.png) [d](https://x.org) `[e](f)`\n")
    assert missing_targets(page) == ["#none", "gone.png"]
    assert unknown_verbs("`timechat trian x.yaml`, the timechat model, ```\n") == ["trian"]
    assert unknown_verbs("```bash\ntimechat config\nls timechat/ models\npip install timechat\n```") == []
    assert missing_places("`timechat/config.py`, `timechat/gone/`, `sh docs/gone.sh`") == [
        "timechat/gone/",
        "docs/gone.sh",
    ]
    assert missing_places("`runs/docs/x`, `tests/*.py`, `quickstart/configs/[1-6]_*.yaml`") == []


def test_the_drawing_is_what_its_script_draws() -> None:
    script = ROOT / "docs/images/architecture.py"
    drawn = runpy.run_path(str(script))["draw"]()
    assert script.with_suffix(".svg").read_text(encoding="utf-8") == drawn
    ElementTree.fromstring(drawn)
    assert "prefers-color-scheme: dark" in drawn
