"""The page in headless Chromium: answers that grow, times that lead the player, files, errors, narrow windows."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from helpers.browser import Page
from helpers.videos import write_video
from helpers.watched import MOMENT, Slow, shared

pytestmark = pytest.mark.browser

NARROW = (400, 800)


def until(page: Page, condition: str) -> None:
    page.tab.wait_for_function(condition)


# Answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_grows_and_its_times_lead_the_player(page: Page) -> None:
    page.open_example()
    page.ask(wait=False)
    seen = set()
    while MOMENT not in page.talk:
        seen.add(page.tab.locator(".tc-said").last.inner_text())
        time.sleep(0.03)
    parts = [text for text in seen if text and MOMENT.startswith(text.strip()) and text.strip() != MOMENT]
    assert len(parts) >= 2, seen
    page.answered()
    page.tab.locator("#tc-timeline .tc-chip").click()
    until(page, "document.querySelector('video.tc-video').currentTime >= 2")
    assert 2.0 <= page.time <= 3.6
    until(page, "document.querySelector('video.tc-video').paused")
    assert 3.4 <= page.time < 4.5  # it plays to the end of the segment, and no further
    page.tab.locator("#tc-timeline .tc-bar").focus()
    page.tab.keyboard.press("Enter")
    until(page, "document.querySelector('video.tc-video').currentTime < 3.4")
    assert page.time >= 2.0


def test_a_conversation_goes_on_about_a_video_that_is_encoded_once(page: Page) -> None:
    before = len(page.model.encoded)
    page.open_example()
    page.ask("one")
    page.ask("two")
    assert len(page.model.encoded) == before + 1
    assert page.model.asked[-1]["histories"] == [(("one", MOMENT),)]
    assert [page.talk.count(word) for word in ("one", "two")] == [1, 1]


def test_stop(page: Page) -> None:
    page.open_example()
    page.ask(wait=False)
    until(page, "(document.querySelector('.tc-said')?.innerText || '').includes('given')")
    page.tab.locator("#tc-stop").click()
    page.answered()
    assert "stopped" in page.talk
    assert MOMENT not in page.talk
    page.ask("again")
    assert MOMENT in page.talk


@pytest.mark.parametrize(
    ("task", "question", "chips"),
    [("Find a moment", "bright", 1), ("Describe with times", "", 2), ("Highlights", "bright", 2)],
)
def test_tasks(page: Page, task: str, question: str, chips: int) -> None:
    page.open_example()
    page.tab.locator("#tc-task label", has_text=task).click()
    page.ask(question)
    assert page.tab.locator("#tc-timeline .tc-chip").count() == chips
    assert page.tab.locator("#tc-timeline .tc-curve").count() == (task == "Highlights")


def test_settings_act(page: Page) -> None:
    page.open_example()
    page.tab.locator("#tc-more button").first.click()
    for label, value in (("Frames", "5"), ("Temperature", "0.5"), ("Longest", "32")):
        page.tab.get_by_label(re.compile(f"number input for {label}", re.IGNORECASE)).fill(value)
        page.tab.keyboard.press("Tab")
    page.ask()
    asked = page.model.asked[-1]
    assert (asked["do_sample"], asked["temperature"], asked["max_new_tokens"]) == (True, 0.5, 32)
    assert page.model.encoded[-1] == 5
    assert page.tab.locator(".tc-frame").count() == 5


def test_suggestions_and_frames(page: Page) -> None:
    page.open_example()
    page.tab.locator(".tc-suggestion").click()
    until(page, "document.querySelector('#tc-question textarea').value === 'When is it dark?'")
    page.tab.locator(".tc-frame").nth(6).click()
    until(page, "document.querySelector('video.tc-video').currentTime > 2")
    assert page.tab.evaluate("document.querySelector('video.tc-video').paused")


def test_answers_are_saved(page: Page) -> None:
    page.open_example()
    page.ask()
    for name, content in (("JSON", MOMENT), ("SRT", "00:00:02,000 --> 00:00:03,500"), ("Table", "2.0 | 3.5")):
        with page.tab.expect_download() as download:
            page.tab.locator(".tc-save", has_text=name).click()
        text = Path(download.value.path()).read_text()
        assert content in text
        assert name != "JSON" or json.loads(text)["segments"][0]["end"] == 3.5
    with page.tab.expect_download() as download:
        page.tab.locator(".tc-save", has_text="Clips").click()
    assert download.value.suggested_filename == "a_clips.zip"
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_video_of_ones_own(page: Page, tmp_path: Path) -> None:
    page.tab.set_input_files("#tc-player .tc-file", write_video(tmp_path / "mine.mp4", frames=30))
    page.tab.wait_for_selector("video.tc-video")
    assert "mine.mp4" in page.tab.locator("#tc-player").inner_text()
    page.ask()
    assert MOMENT in page.talk


def test_speech(page: Page, tmp_path: Path) -> None:
    said = tmp_path / "said.srt"
    said.write_text("1\n00:00:00,000 --> 00:00:01,000\nGood morning\n")
    page.open_example()
    page.tab.locator("#tc-more button").first.click()
    page.tab.set_input_files("#tc-speech .tc-file", said)
    page.tab.wait_for_selector("#tc-speech :text('said.srt')")
    page.ask()
    assert "Good morning" in page.model.asked[-1]["prompt"]


def test_the_page_goes_on_after_errors(page: Page, notes: Path, tmp_path: Path) -> None:
    def alert() -> str:
        page.tab.wait_for_selector("#tc-alert [role=alert]")
        return str(page.tab.locator("#tc-alert [role=alert]").inner_text())

    page.tab.locator("#tc-ask").click()
    assert "There is no video yet" in alert()
    page.tab.set_input_files("#tc-player .tc-file", notes)
    page.tab.wait_for_selector("#tc-alert :text('notes.mp4')")
    assert "notes.mp4 cannot be used" in alert()
    large = tmp_path / "large.mp4"
    large.write_bytes(b"x" * 300_000)
    page.tab.set_input_files("#tc-player .tc-file", large)
    page.tab.wait_for_selector("#tc-alert :text('large.mp4')")
    assert "large.mp4" in alert()
    page.open_example()
    assert page.tab.locator("#tc-alert [role=alert]").count() == 0
    page.ask("more memory than there is")
    assert "ran out of memory" in page.talk
    page.ask("again")
    assert MOMENT in page.talk


def test_more_questions_than_may_wait(
    browser: Any, outside: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timechat.app.web import launch, page

    monkeypatch.setattr(page, "QUEUE", 1)
    write_video(tmp_path / "a.mp4", frames=50)
    model = Slow({"": MOMENT}, pause=0.5)
    with launch.serving(shared(model), "", launch.PageSettings(port=0, examples=str(tmp_path))) as address:
        tabs = [Page(browser.new_page(), model, outside) for _ in range(3)]
        for tab in tabs:
            tab.tab.goto(address)
            tab.open_example()
        for tab in tabs:
            tab.ask(wait=False)
            tab.tab.wait_for_timeout(300)
        tabs[2].answered()
        assert "Too many questions are waiting" in tabs[2].talk
        model.go_on.set()
        for tab in tabs[:2]:
            tab.answered()
            assert MOMENT in tab.talk
            tab.tab.close()
        tabs[2].ask("again")
        assert MOMENT in tabs[2].talk
        tabs[2].tab.close()


# How it looks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [NARROW], indirect=True)
def test_a_narrow_window_has_no_sideways_scroll(page: Page) -> None:
    wide = "document.documentElement.scrollWidth > window.innerWidth"
    assert not page.tab.evaluate(wide)
    page.open_example()
    page.tab.locator("#tc-task label", has_text="Describe").click()
    page.ask("")
    page.tab.locator("#tc-more button").first.click()
    page.tab.wait_for_timeout(300)
    assert not page.tab.evaluate(wide)
    video, ask = page.tab.locator("video.tc-video").bounding_box(), page.tab.locator("#tc-ask").bounding_box()
    assert video["x"] >= 0
    assert video["x"] + video["width"] <= NARROW[0]
    assert ask["x"] + ask["width"] <= NARROW[0]


def test_everything_has_a_name_for_those_who_do_not_see(page: Page) -> None:
    page.open_example()
    page.ask()
    nameless = page.tab.evaluate(
        """[...document.querySelectorAll('button, input, textarea, a[href], video')]
        .filter((part) => part.checkVisibility())
        .filter((part) => !(part.ariaLabel || part.innerText?.trim() || part.labels?.length || part.title))
        .map((part) => part.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    until(page, f"document.querySelector('.tc-spoken').innerText.includes('{MOMENT}')")


def test_dark_where_the_system_is(page: Page) -> None:
    def brightness() -> float:
        colour = page.tab.evaluate("getComputedStyle(document.querySelector('#tc-left')).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    assert brightness() > 200
    page.tab.emulate_media(color_scheme="dark")
    page.tab.reload()
    page.tab.wait_for_selector(".tc-drop")
    assert brightness() < 60


# Nothing leaves the machine -------------------------------------------------------------------------------------------


def test_no_request_leaves_the_machine(page: Page) -> None:
    page.open_example()
    page.ask()
    page.tab.wait_for_timeout(1000)
    schemes = {urlsplit(url).scheme: urlsplit(url).hostname for url in page.hosts}
    hosts = {urlsplit(url).hostname for url in page.hosts if urlsplit(url).scheme not in ("data", "blob")}
    assert hosts == {"127.0.0.1"}, schemes
    assert page.outside == []


def test_words_are_shown_and_never_run(page: Page) -> None:
    mischief = """<img src=x onerror="window.ran=1"> ${window.ran=1} {{ran}} `${window.ran=1}` @children </div>"""
    page.open_example()
    scripts, page.model.scripts = page.model.scripts, {"": f"0.5 - 1.0 seconds, {mischief} 2.0 - 3.5 seconds, bright."}
    page.ask(mischief)
    page.model.scripts = scripts
    assert page.talk.count(mischief) == 2
    assert mischief.split()[0] in page.tab.locator("#tc-timeline").inner_text()
    assert page.tab.evaluate("window.ran") is None


def test_who_leaves_is_forgotten(page: Page, address: str, tmp_path: Path) -> None:
    page.tab.set_input_files("#tc-player .tc-file", write_video(tmp_path / "mine.mp4", frames=30))
    page.tab.wait_for_selector("video.tc-video")
    source = page.tab.evaluate("document.querySelector('video.tc-video').src")
    assert page.tab.request.get(source).ok
    request = page.tab.context.browser.new_context().request
    page.tab.close()
    for _ in range(100):
        if not request.get(source).ok:
            break
        time.sleep(0.1)
    assert request.get(source).status == 400
