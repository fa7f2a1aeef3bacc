"""Each fault of the emulated forges: what is answered, what was done, and how often."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.emulator.forges import FORGE_FAULTS, faults
from reconciler.emulator.forges.__main__ import main
from reconciler.emulator.forges.state import ForgeName
from tests.contract.forge_world import World, make_world

pytestmark = pytest.mark.contract
Json = Any
FORGES: tuple[ForgeName, ...] = ("github", "azure-devops", "gitlab")
PAGED: tuple[ForgeName, ...] = ("github", "gitlab")


@pytest.fixture(params=FORGES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with make_world(request.param, tmp_path) as made:
        made.open_request()
        yield made


@pytest.fixture(params=PAGED)
def paged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with make_world(request.param, tmp_path) as made:
        made.open_request()
        yield made


# Which faults exist


def test_the_table_of_faults_is_that_of_the_docstring() -> None:
    letters = {"H": "github", "A": "azure-devops", "L": "gitlab"}
    sorts = {"write": "writes", "list": "lists"}
    listed = re.findall(r"^\| `(.+?)` \| ([HAL]+) \| (.+?) \|", str(faults.__doc__), re.MULTILINE)
    documented = {name: ({letters[one] for one in forges}, calls) for name, forges, calls in listed}
    assert documented == {
        one.name: (
            set(one.forges or FORGES),
            sorts.get(one.calls[0], one.calls[0]) if one.calls else "all",
        )
        for one in FORGE_FAULTS
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lost", "fault lost does not exist; known are rate-limit,"),
        ("delayed", "fault delayed is one of azure-devops, not github"),
        ("slow@sleep", "call sleep does not exist; known are list-comments,"),
        ("slow@", "names an empty call"),
        ("slow:0", "must be a whole number from 1, or always"),
        ("slow:", "must be a whole number from 1, or always"),
        ("slow:-1", "must be a whole number from 1, or always"),
        ("slow:\u0662", "must be a whole number from 1, or always"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with make_world("github", tmp_path) as world:
        with pytest.raises(ValueError, match=reason):
            world.fault("hang", text)
        assert world.control("GET", "")["faults"] == []


def test_a_fault_counts_the_calls_that_it_names(world: World) -> None:
    world.fault("error-before@create-comment:2", "no-right@update-comment:always")
    path = world.comments(1)
    assert world.call("GET", path).status_code == 200
    assert [world.comment(1, "x").status_code // 100 for _ in range(3)] == [5, 5, 2]
    made = world.comment(1, "y").json()
    assert [world.update(1, made, "z").status_code for _ in range(3)] == [403] * 3
    assert world.control("GET", "")["faults"] == ["no-right@update-comment:always"]
    assert world.control("DELETE", "faults") == []
    assert world.update(1, made, "z").status_code == 200
    assert world.bodies() == ["x", "z"]
    taken = [one["faults"] for one in world.control("GET", "recorded")]
    assert taken == [[], *[["error-before"]] * 2, [], [], *[["no-right"]] * 3, []]


# What is answered instead of the work


@pytest.mark.parametrize("fault", ["rate-limit", "no-right", "conflict", "error-before"])
def test_a_refusal_does_nothing(world: World, fault: str) -> None:
    status = {
        "rate-limit": 403 if world.forge == "github" else 429,
        "no-right": 403,
        "conflict": 409,
        "error-before": 500,
    }[fault]
    world.fault(f"{fault}@create-comment:1")
    assert world.comment(1, "x").status_code == status
    assert world.bodies() == []
    assert world.comment(1, "x").status_code < 300


def test_the_missing_right_is_named_by_azure(tmp_path: Path) -> None:
    with make_world("azure-devops", tmp_path, "no-right") as world:
        world.open_request()
        text = world.comment(1, "x").json()["message"]
    assert text.startswith("TF401027: You need the Git 'PullRequestContribute' permission")
    assert "identity 'Build\\" in text


def test_azure_asks_to_wait_after_a_success(tmp_path: Path) -> None:
    with make_world("azure-devops", tmp_path, "delayed", "rate-limit", wait_s=9) as world:
        world.open_request()
        done, refused = world.comment(1, "x"), world.comment(1, "y")
        assert world.bodies() == ["x"]
    assert (done.status_code, done.headers["Retry-After"]) == (200, "9")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "9")
    assert "TF400733" in refused.text


def test_gitlab_limits_with_and_without_headers(tmp_path: Path) -> None:
    with make_world("gitlab", tmp_path, wait_s=9, clock=lambda: 1000.0) as world:
        world.open_request()
        world.fault("rate-limit", "rate-limit-bare")
        full, bare = world.comment(1, "x"), world.comment(1, "x")
    names = {"Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
    assert (full.status_code, bare.status_code) == (429, 429)
    assert names <= set(full.headers)
    assert (full.headers["Retry-After"], full.headers["RateLimit-Reset"]) == ("9", "1009")
    assert not names & set(bare.headers)


def test_a_page_to_sign_in_is_not_json(world: World) -> None:
    world.fault("sign-in-page", "sign-in-redirect", "foreign-redirect")
    page, moved, away = (world.comment(1, "x") for _ in range(3))
    assert (page.status_code, page.headers["Content-Type"]) == (203, "text/html; charset=utf-8")
    assert "Sign in" in page.text
    assert (moved.status_code, moved.headers["Location"]) == (302, f"{world.open.url}/_signin")
    assert "Sign in" in requests.get(moved.headers["Location"], timeout=120).text
    port = world.open.url.rpartition(":")[2]
    assert away.status_code == 307
    assert away.headers["Location"].startswith(f"http://localhost:{port}/")
    assert world.bodies() == []


# GitHub's limits


@pytest.mark.parametrize(
    ("fault", "status", "remaining", "headers"),
    [
        ("rate-limit", 403, "0", {"x-ratelimit-reset": "1007"}),
        ("rate-limit-429", 429, "0", {"x-ratelimit-reset": "1007"}),
        ("rate-limit-secondary", 403, "999", {"Retry-After": "7"}),
        ("rate-limit-secondary-reset", 403, "0", {"x-ratelimit-reset": "1007"}),
        ("rate-limit-bare", 403, "999", {"x-ratelimit-reset": "4600"}),
        ("no-right", 403, "999", {}),
        ("gone", 410, "999", {}),
    ],
)
def test_github_limits_and_refuses(
    tmp_path: Path, fault: str, status: int, remaining: str, headers: dict[str, str]
) -> None:
    with make_world("github", tmp_path, f"{fault}:2", wait_s=7, clock=lambda: 1000.0) as world:
        world.open_request()
        for _ in range(2):
            answer = world.comment(1, "x")
            assert answer.status_code == status
            assert answer.headers["x-ratelimit-remaining"] == remaining
            assert headers.items() <= dict(answer.headers).items() or all(
                answer.headers[name] == value for name, value in headers.items()
            )
            assert ("Retry-After" in answer.headers) == ("Retry-After" in headers)
        assert world.comment(1, "x").status_code == 201
        assert world.bodies() == ["x"]


# What is lost, late or wrong after the work


def test_a_lost_request_is_not_done_and_a_lost_reply_is(world: World) -> None:
    world.fault("lost-request", "lost-reply@create-comment")
    for expected in ([], ["2"]):
        with pytest.raises(requests.ConnectionError):
            world.comment(1, str(len(expected) * 2))
        assert world.bodies() == expected
    statuses = [one["status"] for one in world.control("GET", "recorded")]
    assert statuses == [None, None]


def test_a_lost_reply_is_about_writes_alone(world: World) -> None:
    world.fault("lost-reply")
    assert world.call("GET", world.comments(1)).status_code == 200
    with pytest.raises(requests.ConnectionError):
        world.comment(1, "x")


def test_an_error_after_the_work(world: World) -> None:
    world.fault("error-after")
    assert world.comment(1, "x").status_code == 502
    assert world.bodies() == ["x"]


def test_half_of_a_reply(world: World) -> None:
    world.fault("cut-off")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        world.comment(1, "x")
    assert world.bodies() == ["x"]


def test_a_reply_that_is_not_what_was_promised(world: World) -> None:
    world.fault("not-json@create-comment", "wrong-shape@create-comment", "huge@update-comment")
    text = world.comment(1, "x")
    assert (text.status_code < 300, text.text) == (True, "It is done.")
    assert isinstance(world.comment(1, "y").json(), list)
    made = world.comment(1, "z").json()
    assert len(world.update(1, made, "w").content) > 20_000_000
    assert world.bodies() == ["x", "y", "w"]


def test_a_reply_that_does_not_come(world: World) -> None:
    world.fault("hang")
    host = world.open.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    headers = world.headers() | {"User-Agent": "test"}
    base = (
        world.call("GET", "/no/such").url.partition(host)[2].replace("/no/such", world.comments(1))
    )
    before = len(world.control("GET", "recorded"))
    connection.request("GET", base, headers=headers)
    while len(world.control("GET", "recorded")) == before:  # the fault is for the first call
        time.sleep(0.01)
    connection.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert world.comment(1, "x").status_code < 300


def test_a_slow_reply_comes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.emulator.forges.server._SLOW_S", 0.3)
    world.fault("slow")
    answer = world.comment(1, "x")
    assert answer.status_code < 300
    assert answer.elapsed.total_seconds() >= 0.3


# Pages


def test_short_pages_go_over_three_pages(paged: World) -> None:
    for number in range(5):
        paged.comment(1, str(number))
    paged.fault("short-pages:always")
    url: str | None = paged.open.url + paged.call("GET", paged.comments(1)).request.path_url
    pages: list[list[str]] = []
    while url:
        answer = requests.get(url, headers=paged.headers(), timeout=120)
        pages.append([one["body"] for one in answer.json()])
        url = answer.links.get("next", {}).get("url")
    numbers = ["0", "1", "2", "3", "4"]
    ordered = numbers if paged.forge == "github" else numbers[::-1]
    assert pages == [ordered[:2], ordered[2:4], ordered[4:]]


def test_pages_that_never_end(paged: World) -> None:
    paged.comment(1, "x")
    paged.fault("endless-pages:always")
    for page in (1, 2, 50):
        answer = paged.call("GET", paged.comments(1), page=page, per_page=100)
        assert f"page={page + 1}" in answer.links["next"]["url"]
        if paged.forge == "gitlab":
            assert answer.headers["x-next-page"] == str(page + 1)


def test_a_page_at_another_origin(paged: World) -> None:
    paged.fault("foreign-page")
    link = paged.call("GET", paged.comments(1)).links["next"]["url"]
    assert link.startswith(f"http://localhost:{paged.open.url.rpartition(':')[2]}/")


# Races


def test_two_creates_that_race_are_both_done(world: World) -> None:
    world.fault("racing-creates:2")
    answers: list[int] = []

    def create(body: str) -> None:
        answers.append(world.comment(1, body).status_code)

    first, second = (threading.Thread(target=create, args=(one,)) for one in ("one", "two"))
    first.start()
    while not world.control("GET", "recorded"):
        time.sleep(0.01)
    assert world.bodies() == []
    second.start()
    first.join()
    second.join()
    assert sorted(world.bodies()) == ["one", "two"]
    assert all(status < 300 for status in answers)


def test_a_rival_of_the_same_account_writes_first(world: World) -> None:
    world.fault("rival-comment")
    world.comment(1, "x")
    comments = world.control("GET", "requests/1")["comments"]
    assert [one["body"] for one in comments] == ["x", "x"]
    assert len({one["author"] for one in comments}) == 1


def test_a_comment_that_is_deleted_right_before_its_update(world: World) -> None:
    made = world.comment(1, "x").json()
    world.fault("deleted-before-update")
    assert world.update(1, made, "y").status_code == 404
    assert world.update(1, made, "y").status_code == 404
    assert world.bodies() == []


# As a process


@contextmanager
def start(*options: str) -> Iterator[tuple[Json, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "reconciler.emulator.forges", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def call(about: Json, method: str, path: str, body: Json) -> Json:
    answer = requests.request(method, f"{about['url']}/_forge/{path}", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_process_that_is_killed_goes_on(tmp_path: Path) -> None:
    with make_world("github", tmp_path) as world:
        world.push("change", base="main")
    options = ["--forge=github", f"--repository={tmp_path / 'repository.git'}"]
    options.append(f"--data={tmp_path / 'state.json'}")
    with start(*options) as (about, process):
        assert about["ready"] is True
        call(about, "POST", "requests", {"branch": "change"})
        headers = {"Authorization": f"Bearer {about['token']}"}
        url = f"{about['url']}/repos/acme/models/issues/1/comments"
        made = requests.post(url, json={"body": "kept"}, headers=headers, timeout=120).json()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with start(*options) as (about, process):
        url = f"{about['url']}/repos/acme/models/issues/comments/{made['id']}"
        assert requests.get(url, headers=headers, timeout=120).json()["body"] == "kept"
        process.terminate()
        assert process.wait() == 0


def test_the_help_of_the_process_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"| `{one.name}` |" in shown for one in FORGE_FAULTS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--fault=nothing"], "fault nothing does not exist"),
        (["--data=/dev/null/x"], "/dev/null/x"),
        (["--repository=/dev/null/x"], "/dev/null/x"),
    ],
)
def test_a_process_that_cannot_start_says_why(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--forge=gitlab", *options])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith("forge: ")
    assert reason in err
    assert "Traceback" not in err
