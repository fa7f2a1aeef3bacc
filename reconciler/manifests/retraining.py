"""Makes the retrainings of a project from their manifests, and checks what a schema cannot.

The loader calls it. A retraining is not a resource: a plan has no step for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.errors import ManifestInvalid
from reconciler.manifests.fleet.findings import FindingCounter
from reconciler.manifests.folder import Folder
from reconciler.manifests.references import Found
from reconciler.manifests.retraining_addresses import settle_addresses
from reconciler.model import (
    ABSENT,
    Address,
    Finding,
    Json,
    Manifest,
    SecretReference,
    SourceLocation,
)
from reconciler.model.training import (
    GateRule,
    Promotion,
    Retraining,
    RowComparison,
    StorageAccess,
    TrainingBlob,
)
from reconciler.model.values import dataclass
from reconciler.plans.evaluations import find_direction, fold_metric
from reconciler.plans.gates import COMPARABLE
from reconciler.ports import AlternatesDeployments, Kind
from reconciler.text.durations import parse_duration
from reconciler.text.suggestions import ask, suggest

RUN: Final = "${run}"
_VARIABLE: Final = re.compile(r"\$\{[^}]*\}?")
_TABLES: Final = (".csv", ".tsv")
_OUTPUTS: Final = ("/spec/outputs/model", "/spec/outputs/evaluation", "/spec/compare/scoredOutput")


@dataclass(frozen=True)
class LoadedManifests:
    """What a project declares: its resources, and the addresses of all its manifests.

    `known` also has the addresses of manifests with errors; it is None if only a part of the
    project was read.
    """

    folder: Folder
    manifests: Mapping[Address, Manifest]
    known: Collection[str] | None
    kinds: Mapping[str, Kind]

    def check_resource(self, address: str, otherwise: str) -> Finding | None:
        """Returns why a retraining cannot name this address as a resource; None if it can.

        `otherwise` is the next step if no address is near.
        """
        if self.known is None:
            return None
        resources = [one for one in self.known if self._is_service(one)]
        if address in resources:
            return None
        near = suggest(address, resources)
        wrong = f"{address} is not a service"
        if self._is_service(address):
            wrong = f"no manifest declares {address}"
        return Finding(wrong, next_step=ask(address, near) if near else otherwise)

    def _is_service(self, address: str) -> bool:
        return address.partition("/")[0] in self.kinds


def make_retrainings(
    taken: Iterable[Manifest], declared: LoadedManifests, counter: FindingCounter
) -> tuple[tuple[Retraining, ...], list[Finding]]:
    """Returns the retrainings of manifests, by address, and the findings about them.

    A finding that members of a fleet share goes to the counter.
    """
    good = [one for one in taken if _is_good(one, declared.folder, counter)]
    made = tuple(map(make_retraining, sorted(good, key=lambda one: one.address)))
    found = [
        replace(finding, subject=str(one.address))
        for one in made
        for finding in _check_promotions(one, declared)
    ]
    for manifest in good:
        for finding in _check_service(manifest, declared):
            if manifest.member is not None:
                counter.add(finding, str(manifest.address), manifest.member)
            else:
                found.append(replace(finding, subject=str(manifest.address)))
    return made, found


def _is_good(manifest: Manifest, folder: Folder, counter: FindingCounter) -> bool:
    """Whether nothing is wrong with a retraining; those of a fleet are checked here."""
    if manifest.member is None:
        return True
    found = list(check_retraining(folder, folder.root / manifest.file, manifest.spec))
    for pointer, finding in found:
        placed = replace(finding, place=manifest.place(pointer))
        counter.add(placed, str(manifest.address), manifest.member)
    return not found


def make_retraining(manifest: Manifest) -> Retraining:
    """Returns the retraining of a manifest that `check_retraining` found nothing wrong with."""
    spec = manifest.spec
    usual = _read_access(spec.get("storage"))
    service = spec["service"]
    outputs = spec["outputs"]
    compared = spec.get("compare")
    return Retraining(
        address=manifest.address,
        model=_read_blob(outputs["model"], usual, manifest.place("/spec/outputs/model/port")),
        evaluation=_read_blob(
            outputs["evaluation"], usual, manifest.place("/spec/outputs/evaluation/port")
        ),
        service=Address(*service["address"].split("/", 1)) if "address" in service else None,
        url=service.get("url", "").rstrip("/"),
        api_key=_read_secret(service.get("apiKey")),
        inputs=tuple(_read_inputs(manifest, usual)),
        parameters=spec.get("parameters", {}),
        schedule=spec.get("schedule", ""),
        timeout_s=parse_duration(spec.get("timeout", "6h")),
        gate=tuple(map(_read_rule, spec.get("gate", ()))),
        comparison=_read_comparison(compared, usual, manifest.place) if compared else None,
        promote=tuple(
            Promotion(
                Address(*one["resource"].split("/", 1)),
                one.get("trainedModel", ""),
                tuple(one.get("deployments", ())),
                place=manifest.place(f"/spec/promote/{number}"),
            )
            for number, one in enumerate(spec.get("promote", ()))
        ),
        labels=manifest.labels,
        fleet=manifest.member.fleet if manifest.member is not None else None,
        place=manifest.place("/metadata/name"),
    )


def _read_inputs(manifest: Manifest, usual: StorageAccess) -> Iterator[TrainingBlob]:
    for port, blob in manifest.spec.get("inputs", {}).items():
        place = manifest.place(f"/spec/inputs{format_pointer((port,))}")
        yield _read_blob({"port": port, **blob}, usual, place)


def _read_blob(given: Json, usual: StorageAccess, place: SourceLocation) -> TrainingBlob:
    access = _read_access(given["storage"]) if "storage" in given else usual
    return TrainingBlob(given["port"], given["uri"], given.get("file", ""), access, place)


def _read_access(given: Json) -> StorageAccess:
    given = given or {}
    return StorageAccess(
        _read_secret(given.get("connectionString")), _read_secret(given.get("sas"))
    )


def _read_secret(given: Json) -> SecretReference | None:
    return SecretReference(given.get("env", ""), given.get("file", "")) if given else None


def _read_rule(given: Json) -> GateRule:
    return GateRule(
        metric=given["metric"],
        min=given.get("min"),
        max=given.get("max"),
        max_regression=given.get("maxRegression"),
        margin=given.get("margin"),
        better=given.get("better", ""),
        row=given.get("row"),
        accepts_first=given.get("firstModel") == "accept",
        accepts_inconclusive=given.get("onInconclusive") == "pass",
    )


def _read_comparison(
    given: Json, usual: StorageAccess, place: Callable[[str], SourceLocation]
) -> RowComparison:
    at = place("/spec/compare/scoredOutput/port")
    scored = _read_blob(given["scoredOutput"], usual, at)
    return RowComparison(
        given["rows"],
        given["label"],
        given.get("positive", ""),
        scored,
        place("/spec/compare/rows"),
        place("/spec/compare/label"),
    )


def check_retraining(folder: Folder, file: Path, spec: Json) -> Iterator[Found]:
    """Yields what is wrong with a spec that fits its schema; file names become the project's."""
    yield from settle_addresses(spec, _find_outputs(spec))
    yield from _check_outputs(spec)
    yield from _check_inputs(folder, file, spec.get("inputs", {}))
    yield from _check_gate(spec)
    yield from _check_schedule(spec.get("schedule", ""))
    compared = spec.get("compare")
    if compared:
        yield from _locate(folder, file, compared, "rows", "/spec/compare/rows")


def _find_outputs(spec: Json) -> dict[str, Json]:
    """Returns the declared outputs by their pointers."""
    given = {at: find({"spec": spec}, split_pointer(at)) for at in _OUTPUTS}
    return {at: output for at, output in given.items() if output is not ABSENT}


def _check_outputs(spec: Json) -> Iterator[Found]:
    given = _find_outputs(spec)
    for at, output in given.items():
        ends = (".ilearner",) if at == _OUTPUTS[0] else _TABLES
        uri = output["uri"]
        if not uri.casefold().endswith(ends):
            step = f"Let it end in {' or '.join(ends)}."
            yield (
                f"{at}/uri",
                Finding("the address of this output has another ending", next_step=step),
            )
        yield from _check_variables(f"{at}/uri", uri)
        if RUN not in uri:
            step = f"Add {RUN}: a job must not write over the result of an earlier one."
            yield f"{at}/uri", Finding(f"the address does not contain {RUN}", next_step=step)
    ports = Counter(one["port"] for one in given.values())
    for at, output in given.items():
        if ports[output["port"]] > 1:
            finding = Finding("two outputs have this port", next_step="Name another port.")
            yield f"{at}/port", finding
    uris = Counter(one["uri"] for one in given.values())
    for at, output in given.items():
        if uris[output["uri"]] > 1:
            finding = Finding("two outputs have this address", next_step="Name another blob.")
            yield f"{at}/uri", finding


def _check_inputs(folder: Folder, file: Path, inputs: Mapping[str, Json]) -> Iterator[Found]:
    for port, given in inputs.items():
        at = f"/spec/inputs{format_pointer((port,))}"
        if not given["uri"].casefold().endswith((*_TABLES, ".arff")):
            step = "Let it end in .csv, .tsv or .arff."
            yield (
                f"{at}/uri",
                Finding("the address of this input has another ending", next_step=step),
            )
        yield from _check_variables(f"{at}/uri", given["uri"])
        if "file" in given:
            yield from _locate(folder, file, given, "file", f"{at}/file")
        elif RUN in given["uri"]:
            step = f"Remove {RUN}, or name the `file` that is uploaded."
            message = f"the address of data that exists cannot contain {RUN}"
            yield f"{at}/uri", Finding(message, next_step=step)


def _check_variables(at: str, uri: str) -> Iterator[Found]:
    for name in dict.fromkeys(_VARIABLE.findall(uri)):
        if name != RUN:
            step = f"The only variable of an address is {RUN}."
            yield at, Finding(f"unknown variable {name[:60]}", next_step=step)


def _locate(folder: Folder, file: Path, given: Json, key: str, at: str) -> Iterator[Found]:
    path = file.parent / given[key]
    fault = folder.find_fault(path, "the file")
    if fault is None:
        given[key] = folder.name(path)
    else:
        yield at, fault


def _check_gate(spec: Json) -> Iterator[Found]:
    for number, rule in enumerate(spec.get("gate", ())):
        at, metric = f"/spec/gate/{number}", rule["metric"]
        compares = "margin" in rule
        if (compares or "maxRegression" in rule) and not (
            rule.get("better") or find_direction(metric)
        ):
            message = f'it is not known whether a higher or a lower "{metric}" is better'
            yield (
                f"{at}/metric",
                Finding(message, next_step="Add `better: higher` or `better: lower`."),
            )
        if compares and "compare" not in spec:
            step = "Add spec.compare with the rows and the output with their scores."
            yield f"{at}/margin", Finding("a margin needs rows to compare on", next_step=step)
        if compares and fold_metric(metric) not in COMPARABLE:
            known = ", ".join(COMPARABLE.values())
            message = f'"{metric}" is not a metric of single rows'
            yield f"{at}/metric", Finding(message, next_step=f"A margin can have: {known}.")
        if not compares and rule.get("onInconclusive"):
            step = "Remove it: a number is never inconclusive."
            yield f"{at}/onInconclusive", Finding("onInconclusive needs a margin", next_step=step)
        if not (compares or "maxRegression" in rule) and rule.get("firstModel"):
            step = "Remove it: min and max do not depend on the model in service."
            yield (
                f"{at}/firstModel",
                Finding("firstModel needs maxRegression or margin", next_step=step),
            )


def _check_schedule(schedule: str) -> Iterator[Found]:
    if not schedule:
        return
    from datetime import UTC, datetime  # noqa: PLC0415 - only a schedule needs it

    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only a schedule needs it

    try:
        next(CronSim(schedule, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        wrong = str(error).removeprefix("Bad ")
        message = (
            f"the {wrong} of the schedule is not one" if wrong else "the schedule is never due"
        )
        step = 'Write minute, hour, day of month, month and day of week, such as "0 3 * * 1".'
        yield "/spec/schedule", Finding(message, next_step=step)


def _check_service(manifest: Manifest, declared: LoadedManifests) -> Iterator[Finding]:
    """Yields a finding for a training service that is not declared."""
    service = manifest.spec["service"].get("address", "")
    step = "Declare it, or name its url and its apiKey."
    found = declared.check_resource(service, step) if service else None
    if found is not None:
        yield replace(found, place=manifest.place("/spec/service/address"))


def _check_promotions(retraining: Retraining, declared: LoadedManifests) -> Iterator[Finding]:
    """Yields a finding for each promotion that names a resource or a model that is not declared."""
    for one in retraining.promote:
        step = "Declare it, or name another one."
        found = declared.check_resource(str(one.resource), step)
        manifest = declared.manifests.get(one.resource)
        if found is not None:
            yield replace(found, place=one.place)
        elif manifest is not None and declared.known is not None:
            yield from _check_model(one, manifest, declared.kinds[one.resource.kind])


def _check_model(promotion: Promotion, manifest: Manifest, kind: Kind) -> Iterator[Finding]:
    if isinstance(kind, AlternatesDeployments):
        yield from _check_deployments(promotion, manifest, kind)
        return
    if promotion.deployments:
        step = "Remove it, and name a trainedModel."
        message = f"{manifest.address} has no deployments that alternate"
        yield Finding(message, place=promotion.place, next_step=step)
        return
    models, name = [one.name for one in kind.list_models(manifest)], promotion.trained_model
    if name not in models:
        near = suggest(name, models)
        names = ", ".join(f'"{known}"' for known in models[:20])
        otherwise = f"It declares {names}." if names else f"Declare it in {manifest.file}."
        step = ask(name, near) if near else otherwise
        message = f'{manifest.address} does not declare a trained model "{name}"'
        if not name:
            message = f"promote does not name the trained model of {manifest.address}"
        yield Finding(message, place=promotion.place, next_step=step)


def _check_deployments(
    promotion: Promotion, manifest: Manifest, kind: AlternatesDeployments
) -> Iterator[Finding]:
    if promotion.trained_model:
        message = f"{manifest.address} has no trainedModel: its model is that in service"
        step = "Remove trainedModel; deployments: [blue, green] names the two that alternate."
        yield Finding(message, place=promotion.place, next_step=step)
        return
    try:
        served = kind.find_served(manifest, followed=True)
        kind.propose_model(manifest, promotion.deployments, served.uri, served.sha256)
    except ManifestInvalid as error:
        for finding in error.findings():
            message = f"{manifest.address} {finding.message}"
            yield replace(finding, message=message, place=finding.place or promotion.place)
