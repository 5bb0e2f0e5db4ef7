"""Writes demo.png and demo_narrow.png beside this file: the page with the quick start's model, wide and on a phone.

make quickstart    # once
make test-demo     # once, for playwright; chromium must be there (Debian: apt-get install chromium)
python docs/images/demo.py
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from timechat.app.web.launch import PageSettings, serving
from timechat.cli.demo import DEFAULTS_FILE, build_parser, load_shared, read_defaults

HERE = Path(__file__).parent
# Name, width and height of the window, pixels of the picture for one of the window.
SHOTS = (("demo.png", 1180, 900, 1.25), ("demo_narrow.png", 400, 900, 1.5))
WATCHED_MS = 1500  # of the segment that is being played


def main() -> None:
    """Open the page, ask, press a time, and take the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the page of `timechat demo`.")
    parser.add_argument("--video", default="test_0002.mp4", help="the example that is asked about (%(default)s)")
    parser.add_argument("--questions", type=int, nargs="+", default=[1, 0], help="suggestions to press (%(default)s)")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the pictures go (%(default)s)")
    args = parser.parse_args()
    defaults = read_defaults(Path(DEFAULTS_FILE))
    model = load_shared(build_parser().parse_args([]), defaults, defaults.prompts)
    settings = PageSettings(port=0, examples=defaults.examples, suggestions=defaults.suggestions)
    with serving(model, defaults.cfg_path, settings) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--mute-audio"]
        )
        for name, width, height, scale in SHOTS:
            tab = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            tab.goto(address)
            _ask(tab, args.video, args.questions)
            tab.screenshot(path=args.folder / name, full_page=True)
            tab.close()
        browser.close()


def _ask(tab: Any, video: str, questions: list[int]) -> None:
    texts = [tab.locator(".tc-suggestion").nth(number).inner_text() for number in questions]
    tab.locator(f'.tc-example[aria-label*="{video}"]').click()
    tab.wait_for_function("document.querySelector('video.tc-video')?.readyState >= 2")
    for number, text in enumerate(texts, start=1):
        tab.fill("#tc-question textarea", text)
        tab.press("#tc-question textarea", "Enter")
        tab.wait_for_function(f"document.querySelectorAll('.tc-asked').length === {number}")
        tab.wait_for_function("!document.querySelector('.tc-busy')")
        tab.wait_for_selector("#tc-ask:visible")
    if tab.locator("#tc-timeline .tc-chip").count():
        tab.locator("#tc-timeline .tc-chip").first.click()
        tab.wait_for_timeout(WATCHED_MS)
        tab.evaluate("document.querySelector('video.tc-video').pause()")
    tab.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    tab.wait_for_timeout(500)  # the player's controls, and smooth scrolling


if __name__ == "__main__":
    main()
