"""A saved plan of every shape, changed at one place and sealed again, and what its apply does.

The services are served from memory, and each apply runs in a copy of the project. So two applies
can be compared: by what they send, and by what the ledger records.
"""

import copy
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

from reconciler.document.pointers import find
from reconciler.kinds.endpoint import provider
from reconciler.ledgers.file import FileLedger
from reconciler.plans.plan_file import digest_of
from tests.contract.homes import lock_owner
from tests.e2e.classic_stage import MODEL as CLASSIC_MODEL
from tests.e2e.classic_stage import OTHER as CLASSIC_OTHER
from tests.e2e.classic_stage import ClassicTelltale
from tests.e2e.telltale import Telltale
from tests.e2e.world import MODEL, Done, definition, run
from tests.ledgers import make_fact
from tests.scripted import Answer, Call, Scripted, run_scripted

Json = Any
# What the time, the process and the plan file itself decide.
_OWN = frozenset(
    [
        "at",
        "by",
        "host",
        "plan_digest",
        "step_digest",
        "previous",
        "digest",
        "fence",
        "highest_fence",
        "sequence",
        "intent",
    ]
)
ENVIRONMENT = {
    "PRIMARY": "the-primary-key-1",
    "OTHER": "another-secret-value",
    "FIRST_SAS": "sv=2024-01-01&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=first",
    "SECOND_SAS": "sv=2024-01-01&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=second",
    "OTHER_SAS": "sv=2024-01-01&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=other",
    "STUDIO_TOKEN": "the-workspace-token",
    "OTHER_TOKEN": "another-workspace-token",
}


class NewService(Telltale):
    """Web services that never show their commitment plan, and whose operations end at once."""

    def answer(self, call: Call, name: str) -> Answer:
        given = super().answer(call, name)
        return given if call.method == "GET" else Answer(200, None)

    def show(self, name: str) -> Json:
        document = super().show(name)
        for hidden in ("commitmentPlan", "unheardOf"):
            document["properties"].pop(hidden, None)
        document["properties"]["createdOn"] = f"2019-01-01T00:00:0{len(name) % 10}Z"
        return document


class ClassicService(ClassicTelltale):
    """Endpoints. Those with `hidden` in their name do not show where their models are."""

    def show(self, name: str) -> Json:
        document = super().show(name)
        if "hidden" in name:
            document.pop("Resources")
        return document


@dataclass
class Outcome:
    """What an apply did: the writes that were sent, and the lines that the ledger got."""

    done: Done
    sent: list[tuple[str, str, str]]
    recorded: list[Json]

    @property
    def refused(self) -> bool:
        """Whether the apply failed, sent nothing and recorded nothing."""
        return self.done.code not in (0, 2) and not (self.sent or self.recorded)


class Rig:
    """A project with a saved plan, in front of services that can be reset."""

    def __init__(self, root: Path, server: Scripted, service: Telltale) -> None:
        self.root, self.server, self.service = root, server, service
        self.folder = root / "project"
        (self.folder / "manifests").mkdir(parents=True)
        self._copies = 0
        self._services: Json = {}
        self.plan: Json = {}

    @property
    def storage(self) -> str:
        return f"{self.server.url}/account/m"

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def write_project(self, defaults: str) -> None:
        url = self.server.url
        self.write(
            "reconciler.yaml",
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: census}\nspec:\n"
            f"  cloud: {{resourceManager: '{url}', studioManagement: '{url}', blob: '{url}'}}\n"
            f"  defaults: {{{defaults}}}\n"
            "  guards: {blobs: skip, maxUpdates: 100%, maxDeletes: 100}\n",
        )

    def declare(self, name: str, *lines: str) -> None:
        """A manifest of a web service, with these lines of its spec."""
        head = "apiVersion: reconciler/v1\nkind: WebService\n"
        named = f"metadata: {{name: {name}, labels: {{team: a}}}}\nspec:\n"
        self.write(f"manifests/{name}.yaml", head + named + "\n".join([*lines, ""]))

    def apply_all(self) -> None:
        done = self.command("apply", "--auto-approve")
        assert done.code == 0, done.said

    def command(self, *arguments: str) -> Done:
        return self.run_in(self.folder, *arguments)

    def run_in(self, folder: Path, *arguments: str) -> Done:
        # What takes effect late is waited for less long than elsewhere.
        with mock.patch.object(provider, "_LOCAL", replace(provider._LOCAL, lag_s=0.0)):
            return run(folder, *arguments, env=ENVIRONMENT)

    def save(self, *arguments: str) -> None:
        """Save a plan; every apply begins with the services as they are now."""
        made = self.command(*arguments, "--out", "saved.plan")
        assert made.code == 0, made.said
        self.plan = json.loads((self.folder / "saved.plan").read_text())
        self._services = copy.deepcopy(self.service.services)

    def apply(self, plan: Json) -> Outcome:
        """Seal a plan and apply it, in a copy of the project and to services as planned."""
        self._copies += 1
        folder = self.root / f"copy{self._copies}"
        shutil.copytree(self.folder, folder)
        self.service.services = copy.deepcopy(self._services)
        (folder / "saved.plan").write_text(json.dumps(seal(plan)))
        known, begun = len(self._read_ledger(folder)), len(self.server.calls)
        done = self.run_in(folder, "apply", "saved.plan", "--parallelism", "1")
        sent = [
            (call.method, call.target, _compare_body(call.body))
            for call in self.server.calls[begun:]
            if call.method not in ("GET", "HEAD")
        ]
        recorded = self._read_ledger(folder)[known:]
        shutil.rmtree(folder)
        return Outcome(done, sent, recorded)

    def _read_ledger(self, folder: Path) -> list[Json]:
        file = folder / ".reconciler" / "ledger.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines]
        return [_compare_line(one) for one in found if "address" in one]


def _compare_line(line: Json) -> Json:
    """A line of the ledger without what it has of its own; the order of owned paths means nothing."""
    kept = {name: value for name, value in line.items() if name not in _OWN}
    return {**kept, "owns": sorted(kept["owns"])} if "owns" in kept else kept


def _compare_body(body: bytes) -> str:
    """What a call sends; the order of keys and of an endpoint's models means nothing."""
    sent = json.loads(body) if body else None
    if isinstance(sent, dict) and isinstance(sent.get("Resources"), list):
        sent["Resources"].sort(key=lambda one: one["Name"])
    return json.dumps(sent, sort_keys=True)


def seal(plan: Json) -> Json:
    """A plan with the digest of what it holds now."""
    return {**plan, "plan_digest": digest_of(plan)}


# The projects, each with a plan that has as many shapes of steps as it can.


def list_places(schema: Json, path: str = "", root: Json = None) -> Iterator[tuple[str, Json]]:
    """Every place of a document that a schema names, with its part of the schema.

    `*` is any key of a map or any item of a list. A value of any form has no places below it.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        referred: Any = find(root, tuple(schema["$ref"].split("/")[1:]))
        schema = {**schema, **referred}
    yield path, schema
    for part in schema.get("anyOf", ()):
        yield from (one for one in list_places(part, path, root) if one[0] != path)
    for name, below in schema.get("properties", {}).items():
        yield from list_places(below, f"{path}/{name}", root)
    for below in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(below, dict):
            yield from list_places(below, f"{path}/*", root)


def find_values(plan: Json, path: str) -> Iterator[tuple[list[str | int], Json]]:
    """Every value of a plan at a place of its schema, with the keys and indices that lead to it."""
    found: list[tuple[list[str | int], Json]] = [([], plan)]
    for name in path.split("/")[1:]:
        found = [
            ([*keys, key], below)
            for keys, value in found
            for key, below in _list_below(value)
            if name in ("*", key)
        ]
    yield from found


def _list_below(value: Json) -> Iterator[tuple[str | int, Json]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def vary(schema: Json, value: Json, others: list[Json]) -> Iterator[Json]:
    """Other values of a place; `others` are those that the plan has at other places of its kind."""
    yield from others
    yield from copy.deepcopy(schema.get("enum", []))
    if schema.get("pattern", "").startswith("^sha256"):
        yield f"sha256:{'0' * 64}"
    elif isinstance(value, (bool, int, float, str)):
        yield from _vary_scalar(value)
    elif isinstance(value, list):
        yield from _vary_list(value, others)
    elif isinstance(value, dict):
        yield from _vary_object(value, others)
    if "null" in schema.get("type", ()) or {"type": "null"} in schema.get("anyOf", ()):
        yield None


def _vary_scalar(value: Json) -> tuple[Json, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, str):
        return ("", f"{value}x")
    return (value + 1, 0) if value else (value + 1,)


def _vary_list(value: Json, others: list[Json]) -> Iterator[Json]:
    yield from (value[1:], value[:-1], value[::-1], [*value, *value[:1]])
    yield from ([*value, *one[:1]] for one in others if isinstance(one, list))


def _vary_object(value: Json, others: list[Json]) -> Iterator[Json]:
    for name in value:
        yield {key: one for key, one in value.items() if key != name}
        yield from ({**value, name: changed} for changed in _vary_below(value[name]))
    for one in others:
        if isinstance(one, dict):
            yield from ({**value, name: below} for name, below in one.items())


def _vary_below(value: Json) -> Iterator[Json]:
    """The value with one leaf of it changed, removed or added; only the first of many."""
    if isinstance(value, dict):
        yield {**value, "zzz": "added"}
        for name in list(value)[:8]:
            yield {key: one for key, one in value.items() if key != name}
            yield from ({**value, name: one} for one in _vary_below(value[name]))
    elif isinstance(value, str):
        yield f"{value}x"
    elif value is None or isinstance(value, (int, float)):
        yield 7


def put(plan: Json, keys: list[str | int], value: Json) -> Json:
    """A copy of a plan with another value at one place."""
    changed = copy.deepcopy(plan)
    if not keys:
        return value
    place = changed
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return changed


def list_variants(plan: Json, path: str, schema: Json) -> list[tuple[list[str | int], Json]]:
    """Plans that differ at one place of the schema: where, and the value there; at most 60 each."""
    values = list(find_values(plan, path))
    spelled = {json.dumps(value, sort_keys=True): value for _, value in values}
    found = []
    for keys, value in values:
        tried = {own := json.dumps(value, sort_keys=True)}
        others = [other for text, other in spelled.items() if text != own][:10]
        for changed in itertools.islice(vary(schema, value, others), 60):
            text = json.dumps(changed, sort_keys=True)
            if text not in tried:
                tried.add(text)
                found.append((keys, changed))
    return found


KEY = "  secrets: {/properties/storageAccount/key: {env: PRIMARY}}"
KEYS = (
    "  secrets: {/properties/storageAccount/key: {env: PRIMARY},"
    " /properties/keys/primary: {env: PRIMARY}, /properties/keys/secondary: {env: PRIMARY}}"
)
COMMITMENT = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/commitmentPlans/p"
)
PAID = f"commitmentPlan: {{id: {COMMITMENT}}}"


@contextmanager
def open_updates(root: Path) -> Iterator[Rig]:
    """A web service with drift, a secret and a hidden value, an unchanged one, and a removal."""
    with _open_new(root) as rig:
        for name in ("census", "same", "gone", "left"):
            rig.service.services[name] = _define(rig, "old")
        rig.declare("gone", "  definition: {tags: {owner: us}}")
        rig.declare("same", "  definition: {tags: {owner: growth}}")
        rig.declare("left", "  definition: {tags: {owner: us}}")
        _declare_census(rig, "old", "v1", "{owner: us}")
        rig.apply_all()
        rig.service.services["census"]["tags"]["owner"] = "somebody else"
        _declare_census(rig, "new", "v2", "{owner: us, stage: next}")
        (rig.folder / "manifests" / "gone.yaml").unlink()
        rig.save("plan", "--prune")
        yield rig


def _declare_census(rig: Rig, model: str, version: str, tags: str) -> None:
    rig.declare(
        "census",
        "  wave: 1",
        f"  trainedModels: {{'{MODEL}': {{uri: '{rig.storage}/{model}.ilearner'}}}}",
        f"  definition: {{tags: {tags}, properties: {{{PAID}, title: Census}}}}",
        f"  secrets: {{/properties/keys/primary: {{env: PRIMARY, version: {version}}}}}",
    )


@contextmanager
def open_wholes(root: Path) -> Iterator[Rig]:
    """Web services that are sent whole: created, copied, replaced, and declared as exact."""
    with _open_new(root) as rig:
        for name in ("swapped", "same", "exact"):
            rig.service.services[name] = _define(rig, "old")
        rig.service.services["exact"]["tags"]["extra"] = "undeclared"
        moved = f"  definition: {{properties: {{{PAID}, storageAccount: {{name: b}}}}}}"
        rig.declare("swapped", moved, KEY)
        rig.declare("same", "  definition: {tags: {owner: growth}}")
        rig.write("manifests/exact.json", json.dumps(_define(rig, "old", key=False)))
        rig.declare("exact", "  ownership: exact", "  definition: {file: exact.json}", KEYS)
        rig.write("manifests/made.json", json.dumps(_define(rig, "new", key=False)))
        rig.declare("made", "  definition: {file: made.json}", KEY)
        source = "from: {address: WebService/same}"
        start = f"  definition: {{{source}, tags: {{owner: us}}, properties: {{{PAID}}}}}"
        rig.declare("copied", start, KEY)
        rig.save("plan", "--allow=replace")
        yield rig


@contextmanager
def open_fleet(root: Path) -> Iterator[Rig]:
    """A fleet of web services in waves, one of which leaves it."""
    with _open_new(root) as rig:
        for name in ("one", "two", "three", "four"):
            rig.service.services[name] = _define(rig, "old")
        _declare_fleet(rig, "old", "{n: one}, {n: two}, {n: three}, {n: four}")
        rig.apply_all()
        _declare_fleet(rig, "new", "{n: one}, {n: two}, {n: three}")
        rig.save("plan", "--prune")
        yield rig


def _declare_fleet(rig: Rig, model: str, items: str) -> None:
    spoken = f"trainedModels: {{'{MODEL}': {{uri: '{rig.storage}/{model}.ilearner'}}}}"
    rig.write(
        "manifests/many.yaml",
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: many}\nspec:\n"
        f"  items: {{list: [{items}]}}\n  waves: [1, 100%]\n  maxFailures: 1\n"
        "  template:\n    kind: WebService\n    metadata: {name: '${n}'}\n"
        f"    spec:\n      {spoken}\n      definition: {{tags: {{owner: us}}}}\n",
    )


@contextmanager
def open_rollback(root: Path) -> Iterator[Rig]:
    """A rollback of the second apply of one web service."""
    with _open_new(root) as rig:
        rig.service.services["census"] = _define(rig, "old")
        for owner, model in (("us", "old"), ("them", "new")):
            rig.declare(
                "census",
                f"  trainedModels: {{'{MODEL}': {{uri: '{rig.storage}/{model}.ilearner'}}}}",
                f"  definition: {{tags: {{owner: {owner}}}, properties: {{title: {owner}}}}}",
            )
            rig.apply_all()
        rig.save("rollback", "WebService/census")
        yield rig


@contextmanager
def open_gated(root: Path) -> Iterator[Rig]:
    """Two web services with new models: one that a gate refuses and a reason lets through."""
    with _open_new(root) as rig:
        for number, name in enumerate(("worse", "better")):
            rig.service.services[name] = _define(rig, "old")
            rig.declare(name, _name_model(rig, "old", f"{number}0"))
            rig.write(f"manifests/{name}-retraining.yaml", _declare_retraining(rig, name))
            rig.write(f"manifests/{name}.csv", "a\n")
        rig.apply_all()
        for number, name in enumerate(("worse", "better")):
            rig.declare(name, _name_model(rig, "new", f"{number}1"))
            _record_evaluation(rig, name, f"{number}1", 0.7 + number / 5)
        rig.save("plan", "--allow=gate=WebService/worse", "--reason=it must be")
        yield rig


def _name_model(rig: Rig, model: str, digest: str) -> str:
    at = f"uri: '{rig.storage}/{model}.ilearner', sha256: '{digest * 32}'"
    return f"  trainedModels: {{'{MODEL}': {{{at}}}}}"


def _declare_retraining(rig: Rig, name: str) -> str:
    run = f"{rig.storage}/${{run}}"
    return (
        f"apiVersion: reconciler/v1\nkind: Retraining\nmetadata: {{name: {name}}}\nspec:\n"
        f"  service: {{url: '{rig.server.url}/jobs', apiKey: {{env: PRIMARY}}}}\n"
        f"  outputs:\n    model: {{port: a, uri: '{run}.ilearner'}}\n"
        f"    evaluation: {{port: b, uri: '{run}.csv'}}\n"
        "  gate: [{metric: AUC, min: 0.8}, {metric: AUC, margin: 0.02}]\n"
        f"  compare: {{rows: {name}.csv, label: a, scoredOutput: {{port: c, uri: '{run}-c.csv'}}}}\n"
        f"  promote: [{{resource: WebService/{name}, trainedModel: '{MODEL}'}}]\n"
    )


def _record_evaluation(rig: Rig, name: str, digest: str, auc: float) -> None:
    data = {"retraining": f"Retraining/{name}", "run": "r1", "metrics": {"AUC": auc}}
    data |= {"evaluation": f"{rig.storage}/r1.csv", "gates": [_compare(auc)]}
    fact = make_fact("evaluation", f"sha256:{digest * 32}", data=data)
    ledger = FileLedger(rig.folder / ".reconciler")
    with ledger.lock(lock_owner(), 0, lambda _: None) as lease:
        ledger.record(replace(fact, fence=lease.lock_owner.fence))


def _compare(auc: float) -> Json:
    numbers = {"candidate": auc, "live": 0.8, "difference": auc - 0.8}
    numbers |= {"low": auc - 0.81, "high": auc - 0.79, "rows": 100.0}
    return {"rule": "AUC margin 0.02", "verdict": "pass", "reason": "", "numbers": numbers}


@contextmanager
def _open_new(root: Path) -> Iterator[Rig]:
    service = NewService([])
    with run_scripted(service) as server:
        rig = Rig(root, server, service)
        rig.write_project("subscription: s, resourceGroup: g")
        yield rig


def _define(rig: Rig, model: str, *, key: bool = True) -> Json:
    body = definition(f"{rig.storage}/{model}.ilearner")
    if not key:
        body["properties"]["storageAccount"].pop("key")
    return body


@contextmanager
def open_classic(root: Path) -> Iterator[Rig]:
    """Endpoints: an update of one of two models, one that shows no models, a create, a removal."""
    service = ClassicService([])
    with run_scripted(service) as server:
        rig = Rig(root, server, service)
        rig.write_project("workspace: w, webService: s, token: {env: STUDIO_TOKEN}")
        for name in ("census", "hidden", "gone"):
            service.services[name] = _make_endpoint(rig)
            rig.write(f"manifests/{name}.yaml", _declare_endpoint(rig, name, "old"))
        rig.apply_all()
        (rig.folder / "manifests" / "gone.yaml").unlink()
        for name in ("census", "hidden", "made"):
            rig.write(f"manifests/{name}.yaml", _declare_endpoint(rig, name, "new"))
        rig.save("plan", "--prune")
        yield rig


def _make_endpoint(rig: Rig) -> Json:
    where = {
        "BaseLocation": f"{rig.server.url}/",
        "RelativeLocation": "account/m/old.ilearner",
        "SasBlobToken": "?sig=live",
    }
    both = {CLASSIC_MODEL: where, CLASSIC_OTHER: where}
    return {"Resources": both, "MaxConcurrentCalls": 4, "ThrottleLevel": "High"}


def _declare_endpoint(rig: Rig, name: str, model: str) -> str:
    token = "resource: {token: {env: STUDIO_TOKEN}}"
    return (
        f"apiVersion: reconciler/v1\nkind: Endpoint\nmetadata: {{name: {name}}}\n"
        f"spec:\n  {token}\n  trainedModels:\n"
        f"    {CLASSIC_MODEL}: {{uri: '{rig.storage}/{model}.ilearner', sas: {{env: FIRST_SAS}}}}\n"
        f"    {CLASSIC_OTHER}: {{uri: '{rig.storage}/old.ilearner', sas: {{env: SECOND_SAS}}}}\n"
        f"  definition: {{MaxConcurrentCalls: {5 if model == 'new' else 4}, ThrottleLevel: High}}\n"
    )


RIGS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Rig]]]] = {
    "updates": open_updates,
    "wholes": open_wholes,
    "fleet": open_fleet,
    "gated": open_gated,
    "classic": open_classic,
    "rollback": open_rollback,
}
