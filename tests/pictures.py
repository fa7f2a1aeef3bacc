"""Takes the pictures of pages that the guide shows, in Debian's Chromium.

`python -m tests.pictures` writes them again. A test holds their captions to the pages.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright

from reconciler.model import GuardLimits, Plan
from reconciler.plans.guards import check_guards
from reconciler.render.drift.html import render_drift_page
from reconciler.render.plan.html import render_plan_html
from tests.drifts import NOW, rich_report
from tests.plans import rich_plan

FOLDER = Path(__file__).resolve().parent.parent / "manifests" / "pictures"


def make_plan() -> Plan:
    """The plan of the picture: a service is destroyed, and others get a new model."""
    rich = rich_plan()
    steps = [one for one in rich.steps if one.resource.address.name not in {"basket", "frozen"}]
    refused = check_guards(steps, GuardLimits(), 300, ())
    return replace(rich, steps=tuple(steps), findings=refused, orphans=(), baseline="kept")


PAGES: dict[str, Callable[[], str]] = {
    "drift": lambda: render_drift_page([replace(rich_report(), expired=())]),
    "plan": lambda: render_plan_html(make_plan()),
}
_WIDTH = 1040
_HEIGHTS = {"drift": 960, "plan": 820}


def take_pictures(folder: Path) -> None:
    """Writes a picture of each page."""
    found = shutil.which("chromium") or sys.exit("There is no Chromium: apt-get install chromium")
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright, TemporaryDirectory() as pages:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, render in PAGES.items():
            file = Path(pages) / f"{name}.html"
            file.write_text(render(), encoding="utf-8")
            _take(browser, file, folder / f"{name}.png")
        browser.close()


def _take(browser: Browser, page_file: Path, picture: Path) -> None:
    height = _HEIGHTS[picture.stem]
    page = browser.new_page(viewport={"width": _WIDTH, "height": height}, color_scheme="light")
    page.clock.set_fixed_time(NOW)
    page.goto(page_file.as_uri())
    page.screenshot(path=picture)


if __name__ == "__main__":
    take_pictures(FOLDER)
