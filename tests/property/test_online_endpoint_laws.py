"""Laws of online endpoints: a rollout is safe at every moment, and an export plans nothing."""

import itertools
import json
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.diff import diff
from reconciler.document.pointers import find
from reconciler.document.schema import Field, Shape
from reconciler.kinds.online_endpoint import KIND
from reconciler.kinds.online_endpoint.shares import MIRROR, TRAFFIC, WHOLE, list_steps, read_shares
from reconciler.manifests.editing.write import write_manifest
from reconciler.manifests.schema import check_document, is_valid
from reconciler.model import ABSENT, Absent, Action, ExportedSpec, Json, Step
from reconciler.package_data import read_schema
from reconciler.plans.step import make_step
from tests.online_endpoints import RESOURCE, WORKSPACE, compare, deployment, endpoint, manifest

pytestmark = pytest.mark.property
NAMES: Final = ("blue", "green", "red")


@st.composite
def shares(draw: st.DrawFn, names: list[str], *, whole: bool = True) -> dict[str, int]:
    """Traffic over some names: its sum is 100 or 0, or what somebody else has left."""
    if not names or draw(st.integers(0, 9)) == 0:
        return {}
    if not whole and draw(st.integers(0, 9)) == 0:
        return {name: draw(st.integers(0, 60)) for name in names}
    size = len(names) - 1
    cuts: list[int] = sorted(draw(st.lists(st.integers(0, 100), min_size=size, max_size=size)))
    edges = [0, *cuts, 100]
    found = {name: edges[at + 1] - edges[at] for at, name in enumerate(names)}
    keep_zeros = draw(st.booleans())
    return {name: share for name, share in found.items() if share or keep_zeros}


@st.composite
def endpoints(draw: st.DrawFn, *, whole: bool = False) -> Json:
    """An endpoint with up to three deployments, of two versions each."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    deployments = [deployment(name, draw(st.sampled_from("12"))) for name in names]
    for one in deployments:
        one["sku"]["capacity"] = draw(st.integers(1, 2))
    traffic = draw(shares(names, whole=whole))
    idle = [name for name in names if not traffic.get(name)]
    mirrors: bool = draw(st.booleans())
    mirrored = {draw(st.sampled_from(idle)): 20} if idle and mirrors else {}
    document = endpoint(
        traffic,
        *deployments,
        mirrorTraffic=mirrored,
        description=draw(st.sampled_from([None, "ours"])),
    )
    for name in ("traffic", "mirrorTraffic"):
        if not document["properties"][name] and draw(st.booleans()):
            del document["properties"][name]
    document["tags"] = draw(st.sampled_from([{}, {"team": "a"}]))
    return document


STRATEGIES = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"on_failure": st.sampled_from(["keep", "remove"])},
        optional={
            "steps": st.lists(st.integers(1, 100), min_size=1, max_size=4, unique=True).map(sorted),
            "pause_s": st.just(60.0),
            "keep_old_s": st.just(600.0),
            "probe": st.just({"request": "sha256:1", "tolerance": 1e-6, "count": 20}),
        },
    ),
)


def make(before: Json | Absent, after: Json, strategy: Json) -> Step:
    """A step from one document to another, as the engine makes it."""
    changes = diff(KIND.field, before, after)
    action = Action.CREATE if before is ABSENT else Action.UPDATE
    return Step(RESOURCE, action, changes, (), (), before, after, strategy=strategy)


def touched(before: Json | Absent, after: Json) -> set[str]:
    """The ARM resources that one write changes: the endpoint as "", and deployments."""
    places = {change.path for change in diff(KIND.field, before, after)}
    return {
        str(path[1]) if path[:1] == ("deployments",) and len(path) > 1 else ""
        for path in places
        if path != ("deployments",)
    }


def _names(document: Json | Absent) -> set[str]:
    """The deployments of a document."""
    found = find(document, ("deployments",))
    return set(found) if isinstance(found, dict) else set()


def check_moment(document: Json, left: int) -> None:
    """Traffic is whole over deployments that exist, and none of them has both sorts of it."""
    traffic, mirrored = read_shares(document, TRAFFIC), read_shares(document, MIRROR)
    existing = _names(document)
    assert sum(traffic.values()) in {0, WHOLE, left}
    assert set(traffic) | set(mirrored) <= existing
    assert not set(traffic) & set(mirrored)


@given(st.one_of(st.just(ABSENT), endpoints()), endpoints(whole=True), STRATEGIES)
def test_every_document_on_the_way_is_safe(
    before: Json | Absent, after: Json, strategy: Json
) -> None:
    step = make(before, after, strategy)
    left = sum(read_shares(before, TRAFFIC).values())
    now: Json = before
    seen: list[object] = []
    for write, document in KIND.split_step(step):
        check_moment(document, left)
        assert len(touched(now, document)) == 1
        changed = diff(KIND.field, now, document)
        assert changed
        assert changed not in seen
        seen.append(changed)
        removed = _names(now) - _names(document)
        assert not removed & set(read_shares(now, TRAFFIC)) | removed & set(
            read_shares(now, MIRROR)
        )
        assert write.title
        now = document
    assert not diff(KIND.field, now, after)


@given(endpoints(whole=True), endpoints(whole=True), STRATEGIES, st.data())
def test_a_step_that_was_interrupted_ends_at_the_same_place(
    before: Json, after: Json, strategy: Json, data: st.DataObject
) -> None:
    writes = KIND.split_step(make(before, after, strategy))
    if not writes:
        return
    at = data.draw(st.integers(0, len(writes) - 1))
    _, reached = writes[at]
    rest = KIND.split_step(make(reached, after, strategy))
    # A plan that is made anew does no more than was left.
    assert len(rest) <= len(writes) - at - 1
    assert not diff(KIND.field, rest[-1][1] if rest else reached, after)


@given(
    st.one_of(st.just(ABSENT), endpoints(whole=True)), endpoints(whole=True), STRATEGIES, st.data()
)
def test_a_retreat_is_safe_and_gives_the_traffic_back(
    before: Json | Absent, after: Json, strategy: Json, data: st.DataObject
) -> None:
    step = make(before, after, strategy)
    writes = KIND.split_step(step)
    checked = [at for at, (write, _) in enumerate(writes) if write.checks or write.requires]
    if not checked:
        return
    at = data.draw(st.sampled_from(checked))
    reached: Json = writes[at][1]
    now = reached
    document: Json
    for _, document in KIND.retreat(step, reached):
        check_moment(document, WHOLE)
        assert len(touched(now, document)) == 1
        assert diff(KIND.field, now, document)
        now = document
    earlier = read_shares(before, TRAFFIC)
    assert read_shares(now, TRAFFIC) == earlier
    new = _names(after) - _names(before)
    if strategy["on_failure"] == "remove":
        used = {*earlier, *read_shares(before, MIRROR)}
        candidates = new | {*read_shares(after, TRAFFIC)} - used
        assert not candidates & _names(now)
        assert _names(now) >= _names(reached) - candidates
    else:
        assert _names(now) >= _names(reached)


@given(
    shares(list(NAMES)),
    shares(list(NAMES)),
    st.lists(st.integers(1, 100), max_size=5, unique=True).map(sorted),
)
def test_shares_move_in_one_direction(
    before: dict[str, int], after: dict[str, int], steps: list[int]
) -> None:
    one, other = ({n: s for n, s in each.items() if s} for each in (before, after))
    seen = [one, *list_steps(one, other, steps)]
    assert seen[-1] == other
    for former, latter in itertools.pairwise(seen):
        assert former != latter
        assert sum(latter.values()) in {0, WHOLE}
        for name in NAMES:
            if other.get(name, 0) > one.get(name, 0):
                assert latter.get(name, 0) >= former.get(name, 0)
            else:
                assert other.get(name, 0) <= latter.get(name, 0) <= one.get(name, 0)


WORDS: Final = st.sampled_from(["a", "b.c", "näme", "Team", "1", "x-y", "env", "file"])
TEXTS: Final = st.sampled_from(["", "x", "2", "No", "1e5", "a: b", "ß", "\u202e", "PT5S"])
_FORMS: Final[dict[str, list[Any]]] = {
    "duration": ["PT5S", "PT0.5S", "PT1M30S", "P1D", "P1M", "PT0S", "soon"],
    "asset-id": [
        "azureml:census:2",
        "azureml://registries/r/models/a/versions/1",
        "azureml://locations/eastus/workspaces/9/models/a/versions/1",
        f"{WORKSPACE}/models/a/versions/1",
    ],
    "casefold": ["Enabled", "enabled", "DISABLED", "Key", "AMLToken", "Hour", "Default", "Other"],
    "instant": ["2025-02-26T17:16:04.1+00:00"],
    "location": ["eastus"],
    "arm-id": ["/subscriptions/s"],
}


@st.composite
def documents(draw: st.DrawFn, field: Field, depth: int = 0) -> Json:
    """A document of the schema, with the nulls, spellings and unknown words of a service."""
    if field.secret:
        return "marker-5f3a-secret"
    if field.compare:
        return draw(st.sampled_from(_FORMS[field.compare]))
    if field.shape is Shape.OBJECT or (field.shape is Shape.MAP and field.items is not None):
        known = [*field.properties]
        named = draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        names = NAMES if depth == 1 else None
        more = st.sampled_from(names) if names else WORDS
        if field.items is not None:
            named += draw(st.lists(more, max_size=3, unique=True))
        children = {name: field.child(name) for name in named}
        return {
            name: None
            if child.empty_is_absent and draw(st.integers(0, 4)) == 0
            else draw(documents(child, depth + 1))
            for name, child in children.items()
        }
    if field.shape is Shape.LIST:
        return draw(st.lists(TEXTS, max_size=2))
    if field.shape is Shape.OPAQUE:
        return {}
    if "boolean" in field.types:
        return draw(st.booleans())
    if field.numeric:
        return draw(
            st.one_of(st.integers(0, 100), st.just(0.5)) if not field.whole else st.integers(0, 100)
        )
    return draw(TEXTS)


@given(documents(KIND.field), st.booleans())
def test_an_export_of_any_document_plans_nothing(live: Json, full: bool) -> None:
    live = {**live, "id": RESOURCE.id}
    exported = KIND.export(RESOURCE, live, {}, full=full)
    text, _ = write_manifest(KIND.manifest_schema_name, RESOURCE.address, exported)
    assert "marker-5f3a" not in text
    spec = _clean(exported.spec)
    step = make_step(compare(live, **spec))
    assert step is None


def _clean(spec: Json) -> Json:
    """The spec that the written manifest has: without what its schema refuses."""
    text, _ = write_manifest(KIND.manifest_schema_name, RESOURCE.address, ExportedSpec(spec))
    document = yaml.safe_load(text)
    assert not list(check_document(KIND.manifest_schema_name, document))
    return json.loads(json.dumps(document.get("spec") or {}))


def test_the_law_can_fail() -> None:
    live = endpoint({"blue": 100}, deployment())
    assert make_step(compare(live, deployments={"blue": {"instance_count": 9}})) is not None
    assert KIND.bind(manifest(traffic={"blue": 100}), live).document


_PATTERNS: Final = {
    "^[A-Za-z0-9._-]+$": "ws",
    "^[^/?#%\\s]+$": "s",
    "^[^/?#%]+$": "rg",
    "^[0-9a-fA-F]{64}$": "ab" * 32,
    "^([0-9]{1,5}(h|m|s))+$": "1m",
    "^[A-Za-z_][A-Za-z0-9_]*$": "NAME",
}
_KEYS: Final = st.sampled_from(
    [*NAMES, "Blue", "a/b~c", "", "API_TOKEN", "AML_APP_ROOT", "env", "file", "createdBy", "\u202e"]
)
_REFERENCES: Final = st.sampled_from(
    [
        "azureml:census:2",
        "azureml:census@latest",
        "azureml://registries/r/models/a/versions/1",
        f"{WORKSPACE}/models/census/versions/2",
        "./model",
        "azureml:",
        "\u202e",
        "x" * 300,
    ]
)


@st.composite
def valid(draw: st.DrawFn, schema: Json) -> Json:
    """A value that a manifest schema allows, as a person might write it or an attacker."""
    if "enum" in schema or "const" in schema:
        return draw(st.sampled_from(schema.get("enum", [schema.get("const")])))
    for word in ("anyOf", "oneOf"):
        if word in schema and "type" not in schema:
            return draw(valid(draw(st.sampled_from(schema[word]))))
    kind = schema.get("type")
    if kind == "object":
        return draw(_valid_object(schema))
    if kind == "array":
        least = schema.get("minItems", 0)
        return draw(st.lists(valid(schema["items"]), min_size=least, max_size=3))
    if kind in {"integer", "number"}:
        low, high = schema.get("minimum", 0), schema.get("maximum", 200_000)
        return draw(st.integers(int(low), int(high)))
    if kind == "boolean":
        return draw(st.booleans())
    if kind is None:
        return {"data": [[1, 2]]}
    if "pattern" in schema:
        return _PATTERNS.get(schema["pattern"], "census")
    text = draw(_REFERENCES if "$comment" in schema else TEXTS)
    return text or "x"


@st.composite
def _valid_object(draw: st.DrawFn, schema: Json) -> Json:
    known = schema.get("properties", {})
    names = draw(st.lists(st.sampled_from(sorted(known)), unique=True)) if known else []
    if schema.get("oneOf"):
        names = draw(st.sampled_from([["env"], ["file"], ["env", "version"]]))
    found = {name: draw(valid(known[name])) for name in {*names, *schema.get("required", ())}}
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        found |= draw(st.dictionaries(_KEYS, valid(more), max_size=3))
    return found


_SPEC: Final = read_schema(KIND.manifest_schema_name)["properties"]["spec"]


@given(valid(_SPEC), st.one_of(st.just(ABSENT), endpoints()))
def test_no_valid_manifest_breaks_the_kind(spec: Json, live: Json | Absent) -> None:
    document = {
        "apiVersion": "reconciler/v1",
        "kind": KIND.name,
        "metadata": {"name": "census"},
        "spec": spec,
    }
    if not is_valid(KIND.manifest_schema_name, document):
        return
    written = manifest(**spec)
    found = [*KIND.check_manifest(written), *KIND.bind(written, live).findings]
    assert all(one.message and one.next_step and one.place for one in found)
    step = None if found else make_step(compare(live, **spec))
    if step is not None:
        strategy = KIND.bind(written, live).strategy
        assert all(one.message for one in KIND.check_step(written, step))
        writes = KIND.split_step(step.copy_with(strategy=strategy))
        assert not diff(KIND.field, writes[-1][1], step.after)
        for _, reached in writes:
            check_moment(reached, sum(read_shares(live, TRAFFIC).values()))
