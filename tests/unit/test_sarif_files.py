"""SARIF files before an upload: what is refused with which reason, and what is packed."""

import base64
import gzip
import json
from typing import Any

import pytest

from reconciler.errors import ReconcilerError
from reconciler.gitops.sarif import SarifFile, check_categories, read_sarif
from reconciler.model import FailedReport, Finding, Verdict
from reconciler.render.drift.sarif import render_sarif
from tests.drift_reports import finding, report, rule


def accept(text: str, name: str = "drift.sarif") -> SarifFile:
    file, findings = read_sarif(name, text.encode())
    assert file is not None, findings
    return file


def refuse(data: bytes) -> str:
    file, findings = read_sarif("drift.sarif", data)
    assert file is None
    assert all(one.subject == "drift.sarif" for one in findings)
    assert all(one.next_step for one in findings)
    return "\n".join(one.message for one in findings)


def unpack(file: SarifFile) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(file.packed)))


def a_run(**more: Any) -> dict[str, Any]:
    return {"tool": {"driver": {"name": "t"}}, "results": [], **more}


def document(*runs: Any, **more: Any) -> bytes:
    return json.dumps({"version": "2.1.0", "runs": list(runs), **more}).encode()


def test_a_report_is_packed_without_what_is_ignored() -> None:
    made = report(finding("a"), ignored=(finding("b", rule=rule()),), environment="prod")
    file = accept(render_sarif([made]))
    assert (file.results, file.suppressed, file.tool) == (1, 1, "reconciler")
    assert file.categories == (("reconciler", "reconciler/drift/census/prod"),)
    assert file.commits == {"4f1c2aa0" * 5}
    (run,) = unpack(file)["runs"]
    assert [one["properties"]["address"] for one in run["results"]] == ["WebService/a"]


def test_the_same_report_is_packed_to_the_same_bytes() -> None:
    text = render_sarif([report(finding("a"))])
    assert accept(text).packed == accept(text).packed


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe{", "it is not JSON"),
        (b"<html>", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is not SARIF 2.1.0"),
        (b'{"version": "2.1.0"}', "it is not SARIF 2.1.0"),
        (b'{"version": "2.1.0", "runs": []}', "it is not SARIF 2.1.0"),
        (b'{"version": "2.1.0", "runs": [7]}', "it is not SARIF 2.1.0"),
        (document(a_run(), version="2.0.0"), "it is not SARIF 2.1.0"),
        (document(a_run(tool={})), "a run does not name its tool"),
        (document(*[a_run()] * 21), "it has 21 runs, and code scanning takes 20"),
        (document(a_run(results=[{}] * 25_001)), "a run has 25,001 results"),
        (document(a_run(invocations=[{"executionSuccessful": False}])), "evidence is incomplete"),
        (document(a_run(), a_run(properties={"whole": False})), "about a part of the project"),
    ],
)
def test_what_is_not_uploaded_says_why(data: bytes, said: str) -> None:
    assert said in refuse(data)


def test_each_reason_is_said_at_once() -> None:
    failed = FailedReport("prod", (Finding("is not YAML"),))
    text = render_sarif([report(finding("a"), whole=False)], "", (failed,))
    said = refuse(text.encode())
    assert "its evidence is incomplete" in said
    assert "about a part of the project" in said


def test_incomplete_evidence_beside_proven_drift_is_not_uploaded() -> None:
    made = report(finding("a"), finding("b", Verdict.INCOMPLETE, pointer=""))
    assert "would close the alerts" in refuse(render_sarif([made]).encode())


def test_two_files_of_one_category_are_refused_and_two_environments_are_not() -> None:
    dev, prod = (
        accept(render_sarif([report(environment=name)]), f"{name}.sarif")
        for name in ("dev", "prod")
    )
    check_categories([dev, prod])
    with pytest.raises(ReconcilerError, match="has the category reconciler/drift/census/dev"):
        check_categories([dev, prod, accept(render_sarif([report(environment="dev")]))])


def test_the_sarif_of_another_tool_is_taken_too() -> None:
    file, findings = read_sarif("x.sarif", b"\xef\xbb\xbf" + document(a_run(results=None)))
    assert findings == ()
    assert file is not None
    assert (file.results, file.categories) == (0, (("t", ""),))


def test_a_file_that_is_too_large_in_gzip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = render_sarif([report(*(finding(f"s{number}") for number in range(50)))])
    size = len(base64.b64decode(accept(text).packed))
    monkeypatch.setattr("reconciler.gitops.sarif._MOST_GZIP", size)
    assert accept(text).results == 50
    monkeypatch.setattr("reconciler.gitops.sarif._MOST_GZIP", size - 1)
    assert f"it has {size:,} bytes in gzip, and code scanning takes {size - 1:,}" in refuse(
        text.encode()
    )


def test_a_file_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.gitops.sarif._MOST_VALUES", 10)
    assert "it is too large to be read" in refuse(render_sarif([report(finding("a"))]).encode())
