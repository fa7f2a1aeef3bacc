"""Laws of a drift report over several runs: what does not change keeps its key and its date."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.drift import report_drift
from reconciler.errors import Unavailable
from reconciler.ledgers.drift_history import NAME, HistoryFile, StoredDriftHistory
from reconciler.model import Address, Drift, LastApplied
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
