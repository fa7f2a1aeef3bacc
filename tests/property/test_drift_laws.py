"""Laws of a drift report over several runs: what does not change keeps its key and its date."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.engine.drift import report_drift
from reconciler.errors import LedgerInvalid, ReconcilerError, Unavailable
from reconciler.ledgers.drift_history import NAME, HistoryFile, StoredDriftHistory
from reconciler.manifests.drift_ignore import load_drift_ignore
from reconciler.manifests.folder import Folder
from reconciler.model import Address, Drift, DriftRun, LastApplied, Resource, Verdict
from reconciler.plans.drift_baseline import read_baseline
from reconciler.plans.drift_ignore import IgnoreRules
from tests.laws import examples
from tests.unit.test_engine import NEW, World, make_request, run, world_of

NAMES = ("a", "b", "c")
SECRET = "planted-secret"
_TITLES = st.sampled_from(["Census income", f"{SECRET}-1", f"{SECRET}-2"])
_KEYS = st.sampled_from(["", SECRET, f"{SECRET}-2"])
_DAY = st.fixed_dictionaries(
    {
        "titles": st.tuples(_TITLES, _TITLES, _TITLES),
        "keys": st.tuples(_KEYS, _KEYS, _KEYS),
        "gone": st.sets(st.sampled_from(NAMES), max_size=1),
        "fails": st.sets(st.sampled_from(NAMES), max_size=2),
        "targets": st.sampled_from([(), (), ("a",), ("b", "c")]),
        "listed": st.booleans(),
    }
)


def make_world() -> World:
    world = world_of(*NAMES)
    run(world, *NAMES)
    for entry in world.kept:
        world.ledger.more[entry.address] = replace(LastApplied.of(entry), sequence=1)
    return world


def say(one: Drift) -> tuple[object, ...]:
    return one.resource.address, one.verdict, one.pointer, repr(one.live), one.hidden


@given(days=st.lists(_DAY, min_size=2, max_size=5))
@examples(100)
def test_what_does_not_change_keeps_its_key_and_its_date(
    tmp_path_factory: Any, days: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    world = make_world()
    all_documents = dict(world.documents)
    before: dict[tuple[object, ...], Drift] = {}
    for number, day in enumerate(days):
        world.documents = {
            name: one for name, one in all_documents.items() if name not in day["gone"]
        }
        for name, title, key in zip(NAMES, day["titles"], day["keys"], strict=True):
            all_documents[name]["properties"]["title"] = title
            all_documents[name]["properties"]["keys"] = {"primary": key}
        world.fails = {name: Unavailable(SECRET, status=500) for name in day["fails"]}
        now = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(days=number)
        runtime = replace(
            world.runtime(),
            clock=partial(datetime.fromtimestamp, now.timestamp(), UTC),
            drift_history=StoredDriftHistory(HistoryFile(folder)),
        )
        targets = [Address("WebService", name) for name in day["targets"]]
        asked = make_request(*NAMES, uri=NEW, refresh="full", targets=targets)
        reported = report_drift(runtime, asked, list_unmanaged=day["listed"])
        found = {say(one): one for one in reported.findings}
        for what, one in found.items():
            if what in before:
                assert (one.key, one.since) == (before[what].key, before[what].since)
                assert not one.is_new
        keys = {one.key for one in reported.findings}
        assert len(keys) == len(found)
        before = found
        assert SECRET.encode() not in Path(folder, NAME).read_bytes()
        assert set(runtime.drift_history.load().since) >= keys


@dataclass
class Bytes:
    """A store that holds whatever a test says."""

    data: bytes
    address: str = "history.jsonl"

    def read(self) -> bytes:
        return self.data

    def change(self, update: Callable[[bytes], bytes]) -> None:
        self.data = update(self.data)


_LINES = st.sampled_from(
    [
        '{"drift_history":1}',
        '{"run":{"at":"2026-11-20T00:00:00Z","commit":"c","counts":{"drifted":1}}}',
        '{"since":"2026-11-20T00:00:00Z","keys":["0123456789abcdef01234567"]}',
        '{"sent":["0123456789abcdef01234567"]}',
        (
            '{"overwritten":{"address":"K/x","at":"2026-11-20T00:00:00Z","by":"","id":"","key":'
            '"0123456789abcdef01234567","pointer":"","verdict":"missing"}}'
        ),
    ]
)
_WORDS = st.sampled_from(
    ["drift_history", "run", "since", "keys", "sent", "overwritten", "at", "commit", "counts"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_WORDS, below, max_size=3),
    max_leaves=9,
)
_BAD_LINES = _LINES | _JSON.map(json.dumps) | st.text(max_size=40)


@given(lines=st.lists(_BAD_LINES, max_size=8), cut=st.integers(0, 60), end=st.binary(max_size=9))
def test_any_bytes_are_a_history_or_an_error_of_it(lines: list[str], cut: int, end: bytes) -> None:
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    store = Bytes(text[: max(0, len(text) - cut)] + end)
    history = StoredDriftHistory(store)
    try:
        past = history.load()
    except LedgerInvalid:
        event("written by a newer version")
        return
    history.append(DriftRun("2026-11-21T00:00:00Z", "", {}), past.since)
    again = StoredDriftHistory(store).load()
    assert again.lost is None
    assert (dict(again.since), again.overwritten) == (dict(past.since), past.overwritten)
    assert again.runs[-1].at == "2026-11-21T00:00:00Z"


_REPORT = st.fixed_dictionaries(
    {},
    optional={
        "format_version": st.sampled_from(["1.1", "1.0", "2.0", "x"]) | _JSON,
        "inputs": st.just({"project": "p"}) | _JSON,
        "findings": st.just([{"key": "0" * 24}]) | _JSON,
        "ignored": _JSON,
        "known": _JSON,
        "environments": _JSON | st.just([{"environment": "", "drift": {}}]),
        "plan_digest": _JSON,
        "runs": _JSON,
    },
)


@given(data=(_REPORT | _JSON).map(lambda one: json.dumps(one).encode()) | st.binary(max_size=40))
def test_any_bytes_are_a_baseline_or_an_error_of_it(data: bytes) -> None:
    said = ""
    try:
        keys = read_baseline(data, "p", "", "base.json")
    except ReconcilerError as error:
        keys, said = frozenset(), error.next_step
    assert said or all(len(key) == 24 for key in keys)


_RULE = st.fixed_dictionaries(
    {},
    optional={
        "address": st.sampled_from(["WebService/a", "*/*", "WebService/[", "x"]) | _JSON,
        "pointer": st.sampled_from(["", "/a", "a"]) | _JSON,
        "verdict": st.sampled_from(["drifted", "drift"]) | _JSON,
        "reason": st.just("r") | _JSON,
        "until": st.sampled_from(["2027-01-31", "2027-02-31", "0000-00-00"]) | _JSON,
        "owner": st.just("o") | _JSON,
        "environment": _JSON,
    },
)


@given(text=(st.lists(_RULE, max_size=3) | _JSON).map(json.dumps) | st.text(max_size=40))
@examples(200)
def test_any_text_is_rules_or_findings_with_places(tmp_path_factory: Any, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / ".driftignore").write_bytes(text.encode("utf-8", "surrogatepass"))
    rules, found = load_drift_ignore(Folder(folder), ["WebService"], (), "")
    assert not (rules and found)
    assert all(one.place is not None or "UTF-8" in one.message for one in found)
    drift = Drift(Resource(Address("WebService", "a"), "/a"), Verdict.DRIFTED, "/a")
    kept, ignored = IgnoreRules(rules, "2026-11-20").split([drift])
    assert len(kept) + len(ignored) == 1
