"""Pages in a real browser: what a page of ours may not do, and who must be able to read it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypedDict

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Dialog, Error, Page, Request

Open: TypeAlias = Callable[..., Page]
Scheme: TypeAlias = Literal["light", "dark"]


class Size(TypedDict):
    """The size of a window, as the browser takes it."""

    width: int
    height: int


DESK: Final[Size] = {"width": 1280, "height": 900}
PHONE: Final[Size] = {"width": 390, "height": 800}


@dataclass
class Watched:
    """A page and what it did that no page of ours may do."""

    page: Page
    wrong: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def watch(watched: Watched) -> None:
    def console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            watched.wrong.append(f"console: {message.text}")

    def failed(error: Error) -> None:
        watched.wrong.append(f"script: {error}")

    def dialog(asked: Dialog) -> None:
        watched.wrong.append(f"dialog: {asked.message}")
        asked.dismiss()

    def request(sent: Request) -> None:
        watched.requests.append(sent.url.partition("#")[0])

    watched.page.on("console", console)
    watched.page.on("pageerror", failed)
    watched.page.on("dialog", dialog)
    watched.page.on("request", request)


def check_access(page: Page) -> None:
    """Fails for what axe-core calls serious: contrast, names, roles, keys."""
    found = Axe().run(page).response
    assert found["testEngine"]["name"] == "axe-core"
    assert len(found["passes"]) > 15
    assert [
        (one["id"], one["impact"], [node["html"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ] == []
