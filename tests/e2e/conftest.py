"""A project for each end-to-end test, of its own or with secrets in it, and a browser for pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.bikes import sign
from tests.e2e.markers import Evidence, Watch
from tests.e2e.pages import DESK, Open, Scheme, Size, Watched, watch
from tests.e2e.planted import NEW, Stage
from tests.e2e.world import Emulator, Project
from tests.scripted import run_scripted
from tests.storage import leave_out, upload_model


@pytest.fixture
def own_group(emulator: Emulator, request: pytest.FixtureRequest) -> Emulator:
    """The emulator with a resource group that no other test knows."""
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return Emulator(emulator.url, emulator.blob, emulator.token, group)


@pytest.fixture
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one call take longer than a short limit of all calls, as it does on a busy machine."""
    monkeypatch.setattr("reconciler.transport.timeouts._LEAST_S", 60.0)


@pytest.fixture
def project(own_group: Emulator, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", own_group)


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A project, watched; nothing that a test made it write may hold a secret."""
    root = tmp_path / "root"
    make, serve = getattr(request, "param", NEW)
    service = serve(make.markers)
    with run_scripted(service) as server, Watch(root / "kept") as watch:
        stage = make(root, server, service, Evidence(root, make.markers))
        yield stage
        stage.evidence.add("how others were started", "\n".join(watch.started))
    stage.check()


@pytest.fixture(scope="session")
def signature(emulator: Emulator) -> str:
    """What opens the models, which are there."""
    for model in ("one", "two", "three"):
        uri = f"{emulator.blob}/devstoreaccount1/bikes/{model}.ilearner"
        upload_model(uri, model.encode(), {})
    return sign()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; where there is none, the checks of pages are left out."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        leave_out("pages in a browser", "There is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def watched(browser: Browser) -> Iterator[Watched]:
    """One page for the tests of a module, since a page of its own for each costs more."""
    made = Watched(browser.new_page())
    watch(made)
    yield made
    made.page.context.close()


@pytest.fixture
def open_page(browser: Browser, watched: Watched, tmp_path: Path) -> Iterator[Open]:
    """Opens pages from disk; none may complain, ask, or load anything but itself.

    Without `context` or `before`, which runs before the page's own script, it is the one page of
    the module, as a new one would be.
    """
    opened = [watched]
    files: set[str] = set()

    def open_one(
        text: str | bytes,
        *,
        viewport: Size = DESK,
        scheme: Scheme = "light",
        before: str = "",
        **context: Any,
    ) -> Page:
        file = tmp_path / f"{len(files)}.html"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        files.add(file.as_uri())
        if context or before:
            opened.append(Watched(browser.new_page(**context)))
            watch(opened[-1])
            opened[-1].page.add_init_script(before)
        page = (opened[-1] if context or before else watched).page
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=scheme, media="screen")
        page.goto(file.as_uri())
        return page

    yield open_one
    did = [(one.wrong[:], set(one.requests) - files) for one in opened]
    watched.wrong.clear()
    watched.requests.clear()
    if watched.page.url != "about:blank":
        watched.page.evaluate("localStorage.clear()")
        watched.page.goto("about:blank")
    for one in opened[1:]:
        one.page.context.close()
    assert did == [([], set())] * len(opened)


@pytest.fixture
def pictures(pytestconfig: pytest.Config) -> Path:
    """Where pictures of pages stay after the run, for people to look at."""
    return pytestconfig.cache.mkdir("pictures")
