"""SARIF files before their upload to code scanning: what is refused, what is left out, how packed.

A result that is absent from an upload closes its alert. So a report whose evidence is incomplete,
or that is about a part of a project, is not uploaded. GitHub opens an alert for a suppressed result
too, so that these are left out. The limits are those of GitHub.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from reconciler.errors import ReconcilerError
from reconciler.model import Finding, Json
from reconciler.model.values import dataclass
from reconciler.text.counting import count
from reconciler.text.json_text import TooMuch, read_json

MOST_BYTES: Final = 128 * 1024 * 1024
_MOST_GZIP: Final = 10 * 1024 * 1024
_MOST_RUNS: Final = 20
_MOST_RESULTS: Final = 25_000
_MOST_VALUES: Final = 20_000_000
_VERSION: Final = "2.1.0"
_MAKE: Final = "Make one: reconciler drift --out drift.sarif"
_INCOMPLETE: Final = (
    "its evidence is incomplete, and an upload would close the alerts of what could not be read"
)
_PARTIAL: Final = (
    "it is about a part of the project, and an upload would close the alerts of the other part"
)


@dataclass(frozen=True, slots=True)
class SarifFile:
    """A file that may be uploaded.

    `packed` is it without suppressed results, in gzip and Base64. `results` and `suppressed` count
    what it has and what was left out. `categories` has the tool and the category of each run.
    `commits` are those that its runs say they are about.
    """

    name: str
    packed: str
    results: int
    suppressed: int
    categories: tuple[tuple[str, str], ...]
    commits: frozenset[str]

    @property
    def tool(self) -> str:
        """The name of the tool that made it."""
        return self.categories[0][0]


def read_sarif(name: str, data: bytes) -> tuple[SarifFile | None, tuple[Finding, ...]]:
    """Read a file; it is None if findings say why it is not uploaded."""
    try:
        document = read_json(data.removeprefix(b"\xef\xbb\xbf"), most_values=_MOST_VALUES)
    except TooMuch:
        return None, (_refuse(name, "it is too large to be read"),)
    except ValueError:
        return None, (_refuse(name, "it is not JSON"),)
    runs = _list_runs(document)
    if not isinstance(document, dict) or not runs:
        return None, (_refuse(name, f"it is not SARIF {_VERSION}"),)
    found = tuple(Finding(f"not uploaded: {said}", name, next_step=step)
                  for said, step in _judge(runs))  # fmt: skip
    return (None, found) if found else _pack(name, document)


def _refuse(name: str, said: str, step: str = _MAKE) -> Finding:
    return Finding(f"not uploaded: {said}", subject=name, next_step=step)


def _list_runs(document: Json) -> list[Any]:
    """The runs of a document; empty for one that is not SARIF of this version."""
    found = _get(document, "runs") if _get(document, "version") == _VERSION else None
    fits = isinstance(found, list) and all(isinstance(one, dict) for one in found)
    return found if fits and isinstance(found, list) else []


def _judge(runs: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Why a file is not uploaded, each with its next step."""
    if len(runs) > _MOST_RUNS:
        said = f"it has {count(len(runs), 'run')}, and code scanning takes {_MOST_RUNS}"
        yield said, "Make a file for each environment: reconciler ci drift"
    if any(not _get(run, "tool", "driver", "name") for run in runs):
        yield "a run does not name its tool", _MAKE
    most = max(len(_list_results(run)) for run in runs)
    if most > _MOST_RESULTS:
        yield f"a run has {count(most, 'result')}, and code scanning takes {_MOST_RESULTS:,}", _MAKE
    if not all(map(_is_complete, runs)):
        yield _INCOMPLETE, "See what could not be read: reconciler drift --refresh full"
    if any(_get(run, "properties", "whole") is False for run in runs):
        yield _PARTIAL, "Report all of it: reconciler drift without PATH, --target and --exclude"


def _is_complete(run: Any) -> bool:
    invocations = run.get("invocations")
    items = invocations if isinstance(invocations, list) else []
    return all(_get(one, "executionSuccessful") is not False for one in items)


def _pack(name: str, document: dict[str, Any]) -> tuple[SarifFile | None, tuple[Finding, ...]]:
    suppressed = results = 0
    for run in document["runs"]:
        every = _list_results(run)
        kept = [one for one in every if not _get(one, "suppressions")]
        results, suppressed = results + len(kept), suppressed + len(every) - len(kept)
        run["results"] = kept
    text = json.dumps(document, separators=(",", ":"))  # in ASCII, so that each text has bytes
    data = gzip.compress(text.encode(), mtime=0)
    if len(data) > _MOST_GZIP:
        said = f"it has {count(len(data), 'byte')} in gzip, and code scanning takes {_MOST_GZIP:,}"
        return None, (_refuse(name, said, "Make a file for each environment: reconciler ci drift"),)
    runs = document["runs"]
    commits = frozenset(
        filter(None, (str(_get(run, "properties", "commit") or "") for run in runs))
    )
    packed = base64.b64encode(data).decode()
    categories = tuple(map(_name_category, runs))
    return SarifFile(name, packed, results, suppressed, categories, commits), ()


def _list_results(run: Any) -> list[Any]:
    found = run.get("results")
    return found if isinstance(found, list) else []


def _name_category(run: Any) -> tuple[str, str]:
    """The tool and the category: all of the id up to its last slash."""
    identity = str(_get(run, "automationDetails", "id") or "")
    return str(_get(run, "tool", "driver", "name")), identity.rpartition("/")[0]


def _get(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def check_categories(files: Sequence[SarifFile]) -> None:
    """Raise ReconcilerError if two runs have one category, because one would replace the other."""
    seen: dict[tuple[str, str], str] = {}
    for file in files:
        for category in file.categories:
            if category in seen:
                raise ReconcilerError(
                    f"has the category {category[1] or '(empty)'} of {seen[category]}, and code"
                    " scanning keeps one of the two",
                    subject=file.name,
                    next_step="Nothing was uploaded. Upload one file for each environment.",
                )
            seen[category] = file.name
