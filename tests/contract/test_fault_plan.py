"""Which fault meets which request, how often, and what is refused of a fault file."""

import re
from pathlib import Path

import pytest

from reconciler.emulator import KINDS
from tests.contract.faulty import connect, faulty, fired, log_of, on, statuses
from tests.contract.world import MODEL, PROVIDER, Json, Service, run_service
from tests.e2e.world import SUBSCRIPTION, definition, run

pytestmark = pytest.mark.contract


# Which fault meets which request.


def test_the_first_entry_that_fires_wins(tmp_path: Path) -> None:
    plan = (
        on("throttle", path="/none[?]", times=2),
        on("error", path="none", times=1, status=502),
        on("error", path="other", rate=0, status=503),
        on("error", "DELETE", status=504),
    )
    with faulty(tmp_path, *plan) as service:
        assert statuses(service, 5) == [429, 429, 502, 404, 404]
        assert statuses(service, 2, path="other") == [404, 404]
        assert statuses(service, 2, "DELETE") == [504, 504]


def test_a_path_is_searched_in_path_and_query_as_they_are_logged(tmp_path: Path) -> None:
    plan = (
        on("throttle", path=r"/WEB"),
        on("throttle", path=r"(?i)/CENSUS%20B\?api-version=\d{4}-01-01$"),
    )
    with faulty(tmp_path, *plan) as service:
        assert statuses(service, 1, path="census B") == [429]
        assert statuses(service, 1, path="census b") == [429]
        assert statuses(service, 1, path="census") == [404]
    assert "/census%20b?api-version=" in log_of(tmp_path)[1]["path"]


def test_a_read_of_an_operation_can_be_met_too(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", "GET", "operationsStatus", times=1)) as service:
        link = service.call("PUT", service.path(), definition(MODEL)).headers[
            "Azure-AsyncOperation"
        ]
        assert service.call("GET", link).status_code == 429
        assert service.call("GET", link).json()["status"] == "Succeeded"
    assert fired(tmp_path) == [("GET", 429, "throttle")]


def test_method_may_be_written_small_and_a_match_may_be_empty(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", "delete", times=1), on("error")) as service:
        assert statuses(service, 2) == [500, 500]
        assert statuses(service, 2, "DELETE") == [429, 500]


def test_an_address_that_nothing_answers_at_meets_faults_too(tmp_path: Path) -> None:
    plan = [on(do) for do in ("list-omission", "stale-read", "invalid-model")]
    with faulty(tmp_path, *plan, on("throttle", path="^/[?]")) as service:
        assert service.call("GET", "/").status_code == 429
        assert service.call("GET", "/x").status_code == 404


def test_nobody_without_the_token_meets_a_fault(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", times=1)) as service:
        stranger = Service(service.url, token="wrong")
        assert statuses(stranger, 3) == [401, 401, 401]
        assert statuses(service, 2) == [429, 404]


def pattern_of(folder: Path, seed: int, *plan: Json, count: int = 60, busy: bool = False) -> str:
    """Which of many reads were throttled; `busy` has the service use its own chance between."""
    with faulty(folder, *plan, options=(f"--seed={seed}",)) as service:
        shown = ""
        for number in range(count):
            if busy and number % 7 == 0:
                service.put(f"s{number}")
            shown += "x" if statuses(service, 1) == [429] else "."
        return shown


def test_a_seed_makes_faults_repeatable_whatever_else_chance_is_used_for(tmp_path: Path) -> None:
    plan = on("throttle", "GET", "/none", rate=0.4)
    shown = pattern_of(tmp_path, 11, plan)
    assert pattern_of(tmp_path, 11, plan, busy=True) == shown
    assert pattern_of(tmp_path, 12, plan) != shown
    behind = pattern_of(tmp_path, 11, on("error", "DELETE", rate=0.5), plan)
    assert behind != shown  # the second entry has chance of its own
    assert pattern_of(tmp_path, 11, on("slow", "DELETE"), plan) == behind


def test_rate_is_how_many_of_many_requests_a_fault_meets(tmp_path: Path) -> None:
    shown = pattern_of(tmp_path, 1, on("throttle", rate=0.3), count=400)
    # Four standard deviations of so many draws.
    assert abs(shown.count("x") - 120) <= 4 * (400 * 0.3 * 0.7) ** 0.5
    assert "xx" in shown


def test_times_are_counted_from_the_start_of_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        options = ("--data", str(tmp_path / "data"))
        with faulty(tmp_path, on("throttle", times=2), options=options) as service:
            assert statuses(service, 3) == [429, 429, 404]


def test_no_pattern_holds_the_emulator_up(tmp_path: Path) -> None:
    plan = [on("throttle", path=path) for path in ("(a+)+$", "(a|aa)+Z", ".*.*.*.*.*.*.*.*x$")]
    with faulty(tmp_path, *plan) as service:
        # A backtracking search would not answer within the patience of any client.
        assert statuses(service, 20, path="a" * 7000 + "!") == [404] * 20


def test_a_path_that_is_no_text_meets_faults_as_any_other(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", path="webServices")) as service:
        with connect(service, "GET", service.path("a\udcff\udcfe")) as wild:
            assert wild.recv(64).split()[1] in {b"429", b"400"}
        assert statuses(service, 1) == [429]


# The file.


def refuse(file: Path) -> str:
    """What the command says of a file that it does not take; it starts nothing."""
    done = run(file.parent, "emulator", "--port=0", "--faults", str(file), env={"NO_COLOR": "1"})
    assert (done.code, done.out) == (1, "")
    return done.err.replace(str(file), "FILE")


NO_PATTERN = (
    "path is not a supported regular expression (look-around and back references are not supported)"
)
WRONG = """\
- match: {method: FETCH, path: "(a"}
  do: throtle
- do: throttle
  match: {path: "(?=x)y", pth: 1}
  times: 1
  rate: 1.5
- {match: {path: [x]}, do: slow, second: 3}
- {match: [], do: error, status: 404}
- {match: {}, do: hang, seconds: 2, status: 500}
- {match: {}, do: slow, seconds: -1}
- {match: {}, times: 0}
- just text
- {match: {}, do: error, rate: true}
- {match: {path: x, path: y}, do: error}
"""


def test_every_finding_of_a_wrong_file_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(WRONG)
    said = refuse(file)
    found = re.findall(r"Error: (.*)\n\n  on FILE line (\d+), column (\d+)", said)
    assert [(message, int(line)) for message, line, _ in found] == [
        ("method must be GET or PUT or PATCH or POST or DELETE", 1),
        (NO_PATTERN, 1),
        ("do is not a known fault", 2),
        (NO_PATTERN, 4),
        ('unknown field "pth"', 4),
        ("rate must be a number from 0 to 1", 6),
        ("times and rate cannot be used together", 6),
        ("path must be text, a regular expression", 7),
        ('unknown field "second"', 7),
        ("match must be a mapping with method, path or both", 8),
        ("status must be a whole number from 500 to 599", 8),
        ("seconds has no effect on hang", 9),
        ("status has no effect on hang", 9),
        ("seconds must be a number from 0 to 3600", 10),
        ("the fault has no do", 11),
        ("times must be a whole number from 1", 11),
        ("a fault must be a mapping with match and do", 12),
        ("rate must be a number from 0 to 1", 13),
        ('duplicate key "path"', 14),
    ]
    assert said.count("Error: ") == len(found)
    assert all(f'Did you mean "{name}"?' in said for name in ("throttle", "path", "seconds"))
    assert "  on FILE line 1, column 26\n" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no faults"),
        (b"# nothing\n", "holds no faults"),
        (b"do: hang\n", "must be a list of faults"),
        (b"- {match: {}, do: hang}\n---\n- 1\n", "a second document"),
        (b"- {match: {}, do: hang\n", "is not YAML"),
        (b"\xff\xfe\xff", "is not text in UTF-8"),
        (b"- {match: {}, do: [hang]}\n", "do is not a known fault"),
        (b"- {match: {}, do: {a: 1}}\n", "do is not a known fault"),
        (b"- {match: {}, do: hang, times: .inf}\n", "would be read as a number"),
        (b"- {match: {path: '" + b"a" * 501 + b"'}, do: hang}\n", "at most 500 characters"),
        (b"- {match: {path: '(a{1000}){1000}'}, do: hang}\n", "not a supported regular expression"),
        (b"- {match: {}, do: hang}\n" * 1001, "one fault too many"),
        (b" " * (1024 * 1024 + 1), "at most 1 MB"),
        (b"- {match: {}, do: &x [*x]}\n", "do is not a known fault"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "faults.yaml"
    file.write_bytes(data)
    said = refuse(file)
    assert message in said
    assert "FILE" in said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "FILE" in refuse(tmp_path / "none.yaml")
    assert "is not a regular file" in refuse(tmp_path)


def test_a_file_may_be_written_as_people_write(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(
        """\
# The first two looks at an operation are throttled.
- match:
    method: GET
    path: /operationsStatus/
  do: throttle
  times: 2
- match: {method: DELETE, path: 'webServices/none\\?'}
  do: error
  status: 503
  rate: 1.0
"""
    )
    with run_service(f"--faults={file}") as service:
        assert statuses(service, 1, "DELETE") == [503]
        link = f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/locations/x/operationsStatus/0"
        seen = [service.call("GET", link).status_code for _ in range(3)]
        assert seen == [429, 429, 404]


def test_every_fault_is_explained_by_the_command() -> None:
    said = run(Path.cwd(), "emulator", "--help", env={"COLUMNS": "200"}).out
    for kind in KINDS:
        assert f"    {kind.name}\n        {kind.meaning}\n" in said
