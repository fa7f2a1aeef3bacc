"""One comment on a request, whoever writes at the same time; its marker; and how it is cut."""

import heapq
import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from reconciler.errors import (
    Rejected,
    ReplyLost,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from reconciler.gitops.comments import (
    Put,
    Sticky,
    find_sticky,
    measure,
    put_status,
    put_sticky,
    read_comment,
    write_comment,
)
from reconciler.gitops.forge import Comment, Request, Requirements, Status

REQUEST = Request(7, "a" * 40, "main")
OLD = Sticky("census", "prod", "100-1", "2026-11-23T03:17:00Z", "sha256:" + "1" * 64, "old text")
NEW = Sticky("census", "prod", "101-1", "2026-11-23T03:18:00Z", "sha256:" + "2" * 64, "new text")


@dataclass
class Memory:
    """The comments of one request, in memory. `before` runs before each call takes effect."""

    before: Callable[[str], None] = lambda _: None
    comments: dict[int, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    name: str = "GitHub"
    longest_comment: int = 65_536

    def _begin(self, call: str) -> None:
        self.before(call)
        self.calls.append(call)

    def list_comments(self, request: Request) -> tuple[Comment, ...]:
        self._begin("list")
        return tuple(Comment(str(number), body) for number, body in sorted(self.comments.items()))

    def create_comment(self, request: Request, body: str, *, unresolved: bool = False) -> Comment:
        self._begin("create")
        number = next(self.ids)
        self.comments[number] = body
        return Comment(str(number), body, f"https://forge/{number}")

    def update_comment(
        self, request: Request, comment: Comment, body: str, *, unresolved: bool = False
    ) -> Comment:
        self._begin("update")
        if int(comment.id) not in self.comments:
            raise Rejected("Not Found", status=404)
        self.comments[int(comment.id)] = body
        return Comment(comment.id, body)

    def delete_comment(self, request: Request, comment: Comment) -> None:
        self._begin("delete")
        self.comments.pop(int(comment.id), None)

    def find_request(self) -> Request | None:
        raise NotImplementedError

    def find_merged(self, commit: str) -> tuple[Request, ...]:
        raise NotImplementedError

    def set_status(self, commit: str, status: Status, request: Request | None = None) -> None:
        self._begin("status")

    def list_statuses(self, commit: str, request: Request | None = None) -> tuple[Status, ...]:
        raise NotImplementedError

    def read_requirements(self, request: Request) -> Requirements:
        raise NotImplementedError


def put(forge: Memory, sticky: Sticky, slept: list[float] | None = None) -> Put:
    return put_sticky(forge, REQUEST, sticky, sleep=([] if slept is None else slept).append)


def texts(forge: Memory) -> list[str]:
    found = [read_comment(body) for body in forge.comments.values()]
    return [one.body for one in found if one is not None]


def refuse_first(call: str, error: ServiceError, *, done: bool = False) -> Callable[[str], None]:
    """Fail the first call of a kind."""
    left = [error]

    def before(now: str) -> None:
        if now == call and left:
            raise left.pop()

    return before


def test_the_first_run_creates_the_comment_and_looks_whether_it_is_alone() -> None:
    forge = Memory()
    assert put(forge, OLD) == Put("created", "https://forge/1")
    assert (texts(forge), forge.calls) == (["old text"], ["list", "create", "list"])


def test_a_later_run_replaces_the_text() -> None:
    forge = Memory()
    put(forge, OLD)
    assert put(forge, NEW).result == "updated"
    assert (list(forge.comments), texts(forge)) == ([1], ["new text"])


def test_the_same_text_is_not_written_again() -> None:
    forge = Memory()
    put(forge, OLD)
    forge.calls.clear()
    assert put(forge, OLD).result == "same"
    assert forge.calls == ["list"]


def test_the_same_text_of_a_later_run_keeps_an_older_run_out() -> None:
    forge = Memory()
    put(forge, replace(OLD, at="2026-11-23T03:00:00Z", run="1"))
    put(forge, replace(NEW, body="old text"))
    assert put(forge, replace(OLD, body="another")).result == "older"
    assert texts(forge) == ["old text"]


def test_an_older_run_does_not_overwrite_a_newer_one_and_says_which() -> None:
    forge = Memory()
    put(forge, NEW)
    said = put(forge, OLD)
    assert (said.result, texts(forge)) == ("older", ["new text"])
    assert said.reason == "the text of run 101-1 of 2026-11-23T03:18:00Z is newer"


def test_at_the_same_second_the_later_run_wins() -> None:
    forge = Memory()
    put(forge, replace(NEW, run="10-1"))
    assert put(forge, replace(OLD, at=NEW.at, run="9-2")).result == "older"


def test_each_environment_has_a_comment_of_its_own() -> None:
    forge = Memory()
    for environment in ("", "dev", "prod"):
        put(forge, replace(OLD, environment=environment, body=environment or "without"))
    assert texts(forge) == ["without", "dev", "prod"]
    found = find_sticky(forge, REQUEST, "census", "dev")
    assert found is not None
    assert (found.body, found.changes, found.edited) == ("dev", OLD.changes, False)
    assert find_sticky(forge, REQUEST, "census", "test") is None


def test_of_several_the_oldest_stays_with_the_newest_text() -> None:
    forge = Memory()
    for sticky in (OLD, replace(NEW, run="102", body="newest"), NEW):
        forge.comments[next(forge.ids)] = write_comment(sticky, 65_536, "GitHub")[0]
    assert put(forge, OLD).result == "older"
    assert (list(forge.comments), texts(forge)) == ([1], ["newest"])


def test_a_comment_that_is_deleted_meanwhile_is_created_again() -> None:
    forge = Memory()
    put(forge, OLD)
    forge.before = lambda call: forge.comments.clear() if call == "update" else None
    assert put(forge, NEW).result == "created"
    assert texts(forge) == ["new text"]


def test_a_reply_that_is_lost_after_the_comment_was_made_makes_no_second_one() -> None:
    class Lossy(Memory):
        def create_comment(
            self, request: Request, body: str, *, unresolved: bool = False
        ) -> Comment:
            super().create_comment(request, body)
            raise ReplyLost("no answer")

    forge = Lossy()
    assert put(forge, OLD).result == "created"
    assert len(forge.comments) == 1


def test_a_reply_that_is_lost_before_the_comment_was_made_is_made_good() -> None:
    forge = Memory(before=refuse_first("create", ReplyLost("no answer")))
    assert put(forge, OLD).result == "created"
    assert len(forge.comments) == 1


def test_a_forge_that_loses_each_reply_is_given_up() -> None:
    class Dead(Memory):
        def create_comment(
            self, request: Request, body: str, *, unresolved: bool = False
        ) -> Comment:
            raise ReplyLost("no answer")

    with pytest.raises(ReplyLost):
        put(Dead(), OLD)


@pytest.mark.parametrize("error", [ReplyLost("no answer"), Throttled("limit", status=429)])
def test_an_update_that_must_be_sent_again_looks_first_for_a_newer_text(
    error: ServiceError,
) -> None:
    forge = Memory()
    put(forge, replace(OLD, at="2026-11-23T03:00:00Z", body="first"))
    left = [error]

    def overtake(call: str) -> None:
        if call == "update" and left:
            forge.comments[1] = write_comment(NEW, 65_536, "GitHub")[0]
            raise left.pop()

    forge.before = overtake
    assert put(forge, OLD).result == "older"
    assert texts(forge) == ["new text"]


def test_an_update_that_was_done_though_its_answer_was_lost_is_one() -> None:
    class Lossy(Memory):
        def update_comment(
            self, request: Request, comment: Comment, body: str, *, unresolved: bool = False
        ) -> Comment:
            super().update_comment(request, comment, body)
            raise ReplyLost("no answer")

    forge = Lossy()
    put(forge, OLD)
    assert put(forge, NEW).result == "updated"
    assert forge.calls.count("update") == 1


def test_a_forge_that_loses_each_update_is_given_up() -> None:
    forge = Memory()
    put(forge, OLD)

    def lose(call: str) -> None:
        if call == "update":
            raise ReplyLost("no answer")

    forge.before = lose
    with pytest.raises(ReplyLost):
        put(forge, NEW)


@pytest.mark.parametrize("call", ["list", "create", "update"])
def test_a_missing_right_is_a_result_and_says_which(call: str) -> None:
    forge = Memory()
    if call == "update":
        put(forge, OLD)
    error = Unauthorized("Resource not accessible", status=403, next_step="Give the right.")
    forge.before = refuse_first(call, error)
    said = put(forge, NEW)
    assert (said.result, said.reason, said.next_step) == (
        "no right",
        "Resource not accessible",
        "Give the right.",
    )


def test_another_failure_is_an_error() -> None:
    with pytest.raises(Unavailable):
        put(Memory(before=refuse_first("list", Unavailable("down", status=502))), OLD)


def test_a_status_without_the_right_is_a_result() -> None:
    status = Status("reconciler/plan/census", "success")
    assert put_status(Memory(), "a" * 40, status).result == "updated"
    error = Unauthorized("No", status=403, next_step="Give the right.")
    said = put_status(Memory(before=refuse_first("status", error)), "a" * 40, status)
    assert (said.result, said.next_step) == ("no right", "Give the right.")


class Simulation:
    """Runs functions as processes whose calls and sleeps take simulated time, in one order."""

    def __init__(self) -> None:
        self._now = 0.0
        self._queue: list[tuple[float, int, threading.Event]] = []
        self._order = itertools.count()
        self._idle = threading.Semaphore(0)

    def wait(self, seconds: float) -> None:
        event = threading.Event()
        heapq.heappush(self._queue, (self._now + seconds, next(self._order), event))
        self._idle.release()
        event.wait()

    def read(self) -> float:
        return self._now

    def run(self, *processes: Callable[[], None]) -> None:
        def start(process: Callable[[], None]) -> None:
            self.wait(0.0)
            process()
            self._idle.release()

        threads = [threading.Thread(target=start, args=(one,)) for one in processes]
        for thread in threads:
            thread.start()
            self._idle.acquire()
        while self._queue:
            self._now, _, event = heapq.heappop(self._queue)
            event.set()
            self._idle.acquire()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("existing", [0, 1, 2])
def test_runs_that_race_leave_one_comment_with_the_newest_text(seed: int, existing: int) -> None:
    draw = Random(seed * 3 + existing)
    simulation = Simulation()
    # A call takes effect in the middle of its time. Two runs start within a second.
    forge = Memory(before=lambda _: simulation.wait(draw.uniform(0.01, 0.45)))
    for number in range(existing):
        first = replace(OLD, at=f"2026-11-23T03:0{number}:00Z", body="first")
        forge.comments[next(forge.ids)] = write_comment(first, 65_536, "GitHub")[0]

    def process(sticky: Sticky) -> Callable[[], None]:
        delay = draw.uniform(0, 1)

        def run() -> None:
            simulation.wait(delay)
            put_sticky(forge, REQUEST, sticky, sleep=simulation.wait, clock=simulation.read)
            simulation.wait(0)

        return run

    simulation.run(process(OLD), process(NEW), process(replace(OLD, run="99")))
    assert texts(forge) == ["new text"]


def test_no_marker_but_our_own_form_counts() -> None:
    text, cut = write_comment(OLD, 65_536, "GitHub")
    assert not cut
    assert read_comment(text) == OLD
    for wrong in (
        "A person quotes:\n" + text,
        "> " + text,
        text.replace("plan project", "apply project"),
        text.replace("at=2026", "at=soon"),
        text.replace("project=census ", ""),
        "",
        "<!-- reconciler plan -->",
    ):
        assert read_comment(wrong) is None, wrong


def test_a_comment_that_a_person_changed_is_recognised() -> None:
    text, _ = write_comment(OLD, 65_536, "GitHub")
    for harmless in (text.strip(), text.replace("\n", "\r\n"), text + "\n\n"):
        found = read_comment(harmless)
        assert found is not None
        assert not found.edited
    found = read_comment(text.replace("old text", "old text, approved"))
    assert found is not None
    assert found.edited


@pytest.mark.parametrize(
    "name", ["a--b", "--><script>", "a b", "a=b", "@team", "`", "ünïcode", "a%20b", "<img>", '"']
)
def test_a_marker_holds_any_name_and_shows_nothing_of_it(name: str) -> None:
    sticky = replace(OLD, project=name, environment=name, run=name, changes=name)
    text, _ = write_comment(sticky, 65_536, "GitHub")
    first = text.partition("\n")[0]
    assert re.fullmatch(r"<!-- (?:(?!--)[\x21-\x3b\x3d\x3f-\x7e ])+ -->", first)
    assert read_comment(text) == sticky


def test_the_marker_of_a_rendered_plan_is_replaced() -> None:
    text, _ = write_comment(replace(OLD, body="<!-- reconciler plan census -->\nx"), 999, "GitHub")
    assert text.count("<!--") == 1


NOTICE = (
    "> ⚠ This comment was cut: GitHub takes 65,536 characters."
    " The whole text is in the job: <https://forge/run/1>"
)
LONG = "\n".join(
    [
        "<!-- reconciler reviewed tree=1 steps=2 -->",
        "### 3 to change",
        "> **Refused**: `max-deletes`",
        "<details><summary>What changes</summary>",
        "",
        "````",
        *(f"{number} 😀 line with ``` in it" for number in range(5_000)),
        "````",
        "",
        "</details>",
    ]
)


@pytest.mark.parametrize(("text", "units"), [("", 0), ("aé", 2), ("a😀b", 4), ("\ud83d", 1)])
def test_a_text_is_as_long_as_its_units_of_utf16(text: str, units: int) -> None:
    assert measure(text) == units


def test_a_long_text_is_cut_at_a_line_and_says_so() -> None:
    sticky = replace(OLD, body=LONG, url="https://forge/run/1")
    text, cut = write_comment(sticky, 65_536, "GitHub")
    assert cut
    assert 60_000 < measure(text) <= 65_536
    lines = text.split("\n")
    assert lines[1:4] == LONG.split("\n")[:3]
    assert lines[-6:] == [
        "````",
        "",
        "</details>",
        "",
        NOTICE,
        "",
    ]
    assert re.fullmatch(r"\d+ 😀 line with ``` in it", lines[-7])
    found = read_comment(text)
    assert found is not None
    assert not found.edited


@pytest.mark.parametrize("most", [300, 1_000, 65_536])
@pytest.mark.parametrize(
    "body",
    [
        "x" * 200_000,
        "\n" * 100_000 + "x",
        "`" * 70_000 + "\nx\n" + "y\n" * 50_000,
        "<details>\n" * 20_000,
        "😀" * 40_000,
    ],
)
def test_no_text_is_longer_than_the_forge_takes(body: str, most: int) -> None:
    text, _ = write_comment(replace(OLD, body=body, url="https://forge/run/1"), most + 300, "x")
    assert measure(text) <= most + 300
