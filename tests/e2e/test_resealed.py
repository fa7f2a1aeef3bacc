"""A saved plan that was changed at one place and sealed again is refused, or does just the same.

Anyone can compute the digest of a plan file. So no field of it may decide alone what is sent, where
to, or what is recorded. Every place of the plan's schema is in one of the three lists below; a new
one must be put into a list.
"""

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.package_data import read_schema
from tests.e2e.resealed import RIGS, Json, Outcome, Rig, list_places, list_variants, put
from tests.laws import examples

pytestmark = pytest.mark.e2e

# The value must agree with others of the file, with a manifest, the ledger or live: any other value
# is refused.
COMPARED = """
    /format_version
    /resource_changes/*/address /resource_changes/*/type /resource_changes/*/name
    /resource_changes/*/id
    /resource_changes/*/token /resource_changes/*/token/env /resource_changes/*/token/file
    /resource_changes/*/change/actions
    /resource_changes/*/change/before_sensitive /resource_changes/*/change/before_sensitive/*
    /resource_changes/*/change/after_sensitive /resource_changes/*/change/after_sensitive/*
    /resource_changes/*/change/replace_paths /resource_changes/*/change/replace_paths/*
    /resource_changes/*/change/replace_paths/*/*
    /resource_changes/*/action_reason
    /resource_changes/*/attributes /resource_changes/*/attributes/*
    /resource_changes/*/attributes/*/path /resource_changes/*/attributes/*/path/*
    /resource_changes/*/attributes/*/verb
    /resource_changes/*/attributes/*/before /resource_changes/*/attributes/*/after
    /resource_changes/*/attributes/*/sensitive /resource_changes/*/attributes/*/immutable
    /resource_changes/*/attributes/*/irreversible /resource_changes/*/attributes/*/opaque
    /resource_changes/*/attributes/*/called
    /resource_changes/*/patch /resource_changes/*/patch/*
    /resource_changes/*/patch/*/op /resource_changes/*/patch/*/path /resource_changes/*/patch/*/value
    /resource_changes/*/inverse /resource_changes/*/inverse/*
    /resource_changes/*/inverse/*/op /resource_changes/*/inverse/*/path
    /resource_changes/*/inverse/*/value
    /resource_changes/*/preconditions /resource_changes/*/preconditions/*
    /resource_changes/*/preconditions/*/absent
    /resource_changes/*/secrets /resource_changes/*/secrets/*
    /resource_changes/*/secrets/*/env /resource_changes/*/secrets/*/file
    /resource_changes/*/secrets/*/version
    /resource_changes/*/model/*/path /resource_changes/*/model/*/path/*
    /resource_changes/*/model/*/before /resource_changes/*/model/*/after
    /resource_changes/*/model/*/digest_before /resource_changes/*/model/*/digest_after
    /resource_changes/*/model/*/gates /resource_changes/*/model/*/gates/*
    /resource_changes/*/model/*/gates/*/retraining /resource_changes/*/model/*/gates/*/rule
    /resource_changes/*/model/*/gates/*/verdict /resource_changes/*/model/*/gates/*/refuses
    /resource_changes/*/model/*/gates/*/reason /resource_changes/*/model/*/gates/*/run
    /resource_changes/*/model/*/gates/*/source /resource_changes/*/model/*/gates/*/rows
    /resource_changes/*/model/*/gates/*/numbers /resource_changes/*/model/*/gates/*/numbers/*
    /resource_changes/*/extent
    /resource_changes/*/source/id
    /resource_changes/*/because/*/pointer
    /resource_changes/*/wave /resource_changes/*/fleet /resource_changes/*/stage
    /resource_changes/*/strategy /resource_changes/*/writes /resource_changes/*/writes/*
    /resource_changes/*/writes/*/title /resource_changes/*/writes/*/wait_s
    /resource_changes/*/writes/*/sends
    /resource_changes/*/writes/*/requires /resource_changes/*/writes/*/requires/*
    /resource_changes/*/writes/*/requires/*/title /resource_changes/*/writes/*/requires/*/settings
    /resource_changes/*/writes/*/checks /resource_changes/*/writes/*/checks/*
    /resource_changes/*/writes/*/checks/*/title /resource_changes/*/writes/*/checks/*/settings
    /resource_drift /resource_drift/*
    /resource_drift/*/address /resource_drift/*/id
    /resource_drift/*/token /resource_drift/*/token/env /resource_drift/*/token/file
    /resource_drift/*/token/version
    /resource_drift/*/type /resource_drift/*/name
    /resource_drift/*/change /resource_drift/*/change/actions
    /resource_drift/*/change/before /resource_drift/*/change/after
    /resource_drift/*/pointers /resource_drift/*/pointers/*
    /rollouts /rollouts/* /rollouts/*/fleet /rollouts/*/sizes /rollouts/*/sizes/*
    /rollouts/*/pause_s /rollouts/*/max_failures
    /inputs/project /inputs/cloud /inputs/environment
    /outcome /changes_digest
"""

# The apply takes the value from the manifests, the ledger, storage, live or the checkout instead.
DERIVED = """
    /resource_changes/*/owns /resource_changes/*/owns/*
    /resource_changes/*/model/*/trust
    /resource_changes/*/token/version
    /inputs/files /inputs/files/* /inputs/commit /inputs/dirty
    /estimate /estimate/writes /estimate/reads /estimate/seconds
    /plan_digest
"""

# People read it, and an apply at most refuses a value that cannot be shown. The first ones hold
# others of these lists, and values of the service's document that no change touches.
SHOWN = """
    / /resource_changes /resource_changes/* /resource_changes/*/change
    /resource_changes/*/change/before /resource_changes/*/change/after
    /resource_changes/*/model /resource_changes/*/model/*
    /resource_changes/*/because /resource_changes/*/because/*
    /resource_changes/*/source /resource_changes/*/member /resource_changes/*/member/place
    /inputs /refresh
    /timestamp
    /resource_changes/*/model/*/name
    /resource_changes/*/not_observable /resource_changes/*/not_observable/*
    /resource_changes/*/unchanged_attributes
    /resource_changes/*/source/name /resource_changes/*/source/region
    /resource_changes/*/source/copy
    /resource_changes/*/because/*/cause /resource_changes/*/because/*/note
    /resource_changes/*/because/*/remembered
    /resource_changes/*/labels /resource_changes/*/labels/*
    /resource_changes/*/member/number
    /resource_changes/*/member/place/file /resource_changes/*/member/place/line
    /resource_changes/*/member/place/column
    /unchanged /unchanged/* /unchanged/*/address /unchanged/*/id
    /unchanged/*/token /unchanged/*/token/env /unchanged/*/token/file /unchanged/*/token/version
    /last_set /last_set/* /last_set/*/*
    /orphans /orphans/* /orphans/*/address /orphans/*/id
    /orphans/*/token /orphans/*/token/env /orphans/*/token/file /orphans/*/token/version
    /not_observable /not_observable/* /not_observable/*/*
    /findings /findings/* /findings/*/message /findings/*/subject
    /findings/*/place /findings/*/place/file /findings/*/place/line /findings/*/place/column
    /findings/*/detail /findings/*/detail/* /findings/*/next_step /findings/*/severity
    /findings/*/guard
    /inputs/differing /inputs/differing/* /inputs/schemas /inputs/schemas/*
    /inputs/targets /inputs/targets/* /inputs/excluded /inputs/excluded/*
    /inputs/allowed /inputs/allowed/* /inputs/reason
    /refresh/mode /refresh/read /refresh/total /refresh/calls /refresh/oldest
    /baseline
"""


@cache
def read_places() -> dict[str, Json]:
    found: dict[str, Json] = {}
    for path, schema in list_places(read_schema("output/plan")):
        found.setdefault(path or "/", schema)
    return found


def test_every_place_of_a_plan_is_in_one_list() -> None:
    listed = f"{COMPARED} {DERIVED} {SHOWN}".split()
    assert sorted(listed) == sorted(read_places())


class Rigs:
    """The projects, each opened once, and what each does with the plan as it was made."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root, self._stack = root, stack
        self._opened: dict[str, tuple[Rig, Outcome]] = {}

    def open(self, name: str) -> tuple[Rig, Outcome]:
        if name not in self._opened:
            rig = self._stack.enter_context(RIGS[name](self._root / name))
            honest = rig.apply(rig.plan)
            assert honest.done.code == 0, honest.done.said
            assert honest.sent
            assert honest.recorded
            self._opened[name] = rig, honest
        return self._opened[name]

    def judge(self, name: str, place: str, keys: list[str | int], value: Json) -> None:
        """Apply a plan with another value at one place, and hold the outcome to the lists."""
        rig, honest = self.open(name)
        outcome = rig.apply(put(rig.plan, keys, value))
        what = f"{name}: {keys} = {json.dumps(value)[:300]}"
        if outcome.refused:
            assert "Traceback" not in outcome.done.said, what
            return
        assert describe(outcome) == describe(honest), what
        assert place not in COMPARED.split(), f"{what}: it was applied"


def describe(outcome: Outcome) -> Json:
    recorded = sorted(json.dumps(line, sort_keys=True) for line in outcome.recorded)
    return outcome.done.code, sorted(outcome.sent), recorded


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with ExitStack() as stack:
        yield Rigs(tmp_path_factory.mktemp("resealed"), stack)


Variant = tuple[str, list[str | int], Json]


@cache
def list_all(rigs: Rigs, name: str, most: int) -> list[Variant]:
    """At most so many changes of each place of a plan; the same ones in every run."""
    rig, _ = rigs.open(name)
    found: list[Variant] = []
    for place, schema in read_places().items():
        variants = list_variants(rig.plan, place.rstrip("/"), schema)
        random.Random(place).shuffle(variants)
        found += ((place, keys, value) for keys, value in variants[:most])
    return found


@examples(200)
@given(st.data())
def test_a_plan_that_was_sealed_again_is_refused_or_does_the_same(
    rigs: Rigs, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(list(RIGS)))
    place, keys, value = data.draw(st.sampled_from(list_all(rigs, name, 20)))
    rigs.judge(name, place, keys, value)


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGS)
def test_no_place_of_a_plan_is_believed(rigs: Rigs, name: str) -> None:
    for place, keys, value in list_all(rigs, name, 6):
        rigs.judge(name, place, keys, value)
