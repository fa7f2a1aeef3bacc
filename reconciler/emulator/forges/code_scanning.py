"""Code scanning of GitHub: the two calls that upload SARIF and ask what became of it.

The limits and the errors of the processing are those of GitHub's page about SARIF. What a commit
that does not exist is answered with is not published: it is refused here.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from reconciler.emulator.forges.calls import ForgeCall, ForgeRefusal, Json
from reconciler.emulator.forges.records import SarifUpload
from reconciler.emulator.forges.state import ForgeState
from reconciler.emulator.replies import Answer

MOST_GZIP: Final = 10 * 1024 * 1024
MOST_RUNS: Final = 20
MOST_RESULTS: Final = 25_000
MOST_RULES: Final = 25_000
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{40}")
_REF: Final = re.compile(r"refs/(heads|tags|pull)/.+")
_Refuse = Callable[[int, str], ForgeRefusal]


def upload_sarif(state: ForgeState, call: ForgeCall, refuse: _Refuse) -> Answer:
    """Take a file; what is wrong inside of it shows only in the state of the upload."""
    commit, ref = call.text("commit_sha"), call.text("ref")
    if not _COMMIT.fullmatch(commit):
        raise refuse(422, "Invalid request. commit_sha does not match /^[0-9a-fA-F]+$/.")
    if not _REF.fullmatch(ref):
        raise refuse(422, "Invalid request. ref does not match /^refs/(heads|tags|pull)/.*$/.")
    if not state.git.find_commit(commit):
        raise refuse(404, "commit not found")
    document = _unpack(call.text("sarif"), refuse)
    runs = document.get("runs") if isinstance(document, dict) else None
    runs = [one for one in runs if isinstance(one, dict)] if isinstance(runs, list) else []
    errors = list(_find_errors(document, runs))
    if "sarif-failed" in call.faults:
        errors = ["rejecting SARIF, as there are more results per run than allowed"]
    made = SarifUpload(
        str(uuid.uuid4()),
        commit,
        ref,
        call.account.login,
        state.clock(),
        [_describe(one) for one in runs],
        errors,
    )
    state.sarifs.append(made)
    url = f"{call.url}/{made.id}"
    return Answer(202, {"id": made.id, "url": url})


def _unpack(text: str, refuse: _Refuse) -> Json:
    try:
        packed = base64.b64decode(text, validate=True)
        if len(packed) > MOST_GZIP:
            raise refuse(413, "Payload Too Large")
        return json.loads(gzip.decompress(packed))
    except (ValueError, binascii.Error, EOFError, OSError, zlib.error, RecursionError):
        raise refuse(400, "Invalid SARIF: it is not JSON in gzip and Base64.") from None


def _find_errors(document: Json, runs: list[Json]) -> Iterator[str]:
    if not isinstance(document, dict) or document.get("version") != "2.1.0":
        yield "Invalid SARIF. The version must be 2.1.0."
    if len(runs) > MOST_RUNS:
        yield f"rejecting SARIF, as there are more runs than allowed ({len(runs)} > {MOST_RUNS})"
    names = Counter(name_analysis(one) for one in runs)
    if any(number > 1 for number in names.values()):
        yield "multiple SARIF runs with the same category"
    for one in runs:
        results = one.get("results") or []
        if len(results) > MOST_RESULTS:
            yield "rejecting SARIF, as there are more results per run than allowed"
        if any(not each.get("locations") for each in results):
            yield "locationFromSarifResult: expected at least one location"


def name_analysis(run: Json) -> tuple[str, str]:
    """The tool and the category of a run: a later upload with both the same replaces it."""
    tool = run.get("tool", {}).get("driver", {}).get("name", "")
    identity = str(run.get("automationDetails", {}).get("id", ""))
    return tool, identity.rpartition("/")[0]


def _describe(run: Json) -> dict[str, Json]:
    tool, category = name_analysis(run)
    return {"tool": tool, "category": category, "results": run.get("results") or []}


def read_sarif(state: ForgeState, call: ForgeCall, refuse: _Refuse) -> Answer:
    """Show the state of an upload; it is processed after the first question."""
    found = next((one for one in state.sarifs if one.id == call.parts["sarif"]), None)
    if found is None:
        raise refuse(404, "Not Found")
    found.asked += 1
    if found.asked == 1 or "sarif-pending" in call.faults:
        return Answer(200, {"processing_status": "pending"})
    analyses = f"{call.origin}/repos/{call.parts['owner']}/{call.parts['repo']}/code-scanning"
    shown: dict[str, Json] = {
        "processing_status": "failed" if found.errors else "complete",
        "analyses_url": f"{analyses}/analyses?sarif_id={found.id}",
    }
    return Answer(200, shown | ({"errors": found.errors} if found.errors else {}))
