"""Checks of what an online endpoint has beside what a manifest declares, before the first write.

A deployment that answers calls keeps its model: another model goes to another deployment. What the
service is not known to accept needs a guard. The kind calls this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from reconciler.document.diff import same
from reconciler.document.pointers import find, format_pointer
from reconciler.document.schema import Field
from reconciler.kinds.online_endpoint.addresses import ASSETS, ID_FORM, parse_id
from reconciler.kinds.online_endpoint.bind import HIDDEN
from reconciler.kinds.online_endpoint.forms import DEPLOYMENT
from reconciler.kinds.online_endpoint.manifest_checks import MOST_DEPLOYMENTS, find_at
from reconciler.kinds.online_endpoint.shares import MIRROR, TRAFFIC, read_shares
from reconciler.model import ABSENT, Absent, Finding, Json, Manifest, Path, Step
from reconciler.plans.guards import forbid
from reconciler.text.counting import count
from reconciler.text.suggestions import ask, suggest

COLOURS: Final = ("blue", "green")
# What a running deployment may not exchange, in the document and in words.
_IN_PLACE: Final[Mapping[Path, str]] = {
    ("properties", "model"): "model",
    ("properties", "environmentId"): "environment",
    ("properties", "codeConfiguration", "codeId"): "code",
    ("properties", "codeConfiguration", "scoringScript"): "scoring script",
}
_TYPE: Final[Path] = ("properties", "instanceType")


def check_live(manifest: Manifest, live: Json | Absent) -> Iterator[Finding]:
    """Yield what the manifest lacks or asks for that the live endpoint does not allow."""
    kind = find(live, ("kind",))
    if isinstance(kind, str) and kind.casefold() not in {"", "managed"}:
        said = f"is not a managed endpoint: its kind is {kind}"
        yield find_at(manifest, (), said, "Manage it with the tools of its Kubernetes cluster.")
    yield from _check_named(manifest, live)
    yield from _check_mirrored(manifest, live)
    yield from _check_new(manifest, live)
    yield from _check_exact(manifest, live)


def _check_named(manifest: Manifest, live: Json | Absent) -> Iterator[Finding]:
    """Yield the traffic of deployments that are neither declared nor there."""
    known = {*manifest.spec.get("deployments", {}), *_list(live)}
    for word in ("traffic", "mirror_traffic"):
        for name, share in manifest.spec.get(word, {}).items():
            if share and name not in known:
                near = suggest(name, sorted(known))
                step = f"Declare it: deployments: {{{name}: {{model: azureml:NAME:VERSION, …}}}}"
                said = f"{word} names {name}, which is neither declared nor there"
                yield find_at(manifest, (word, name), said, ask(name, near) if near else step)


def _check_mirrored(manifest: Manifest, live: Json | Absent) -> Iterator[Finding]:
    """Yield a mirror of live traffic that the manifest does not declare."""
    shares = {} if "traffic" in manifest.spec else read_shares(live, TRAFFIC)
    for name, share in manifest.spec.get("mirror_traffic", {}).items():
        if share and name in shares:
            said = (
                f"{name} has {shares[name]} % of the traffic, and cannot get mirrored traffic too"
            )
            step = "Mirror the calls to a deployment without traffic."
            yield find_at(manifest, ("mirror_traffic", name), said, step)


def _check_new(manifest: Manifest, live: Json | Absent) -> Iterator[Finding]:
    """Yield what a deployment that does not exist yet lacks."""
    for name, given in manifest.spec.get("deployments", {}).items():
        if name in _list(live):
            continue
        at = ("deployments", name)
        if "instance_type" not in given:
            said = f"{name} is a new deployment and has no instance_type"
            yield find_at(manifest, at, said, "Declare it, such as instance_type: Standard_DS3_v2")
        if "model" not in given and "environment" not in given:
            said = f"{name} is a new deployment and has neither a model nor an environment"
            yield find_at(manifest, at, said, "Declare what it serves: model: azureml:NAME:VERSION")


def _check_exact(manifest: Manifest, live: Json | Absent) -> Iterator[Finding]:
    """Yield the deployments that an exact manifest would delete while they have traffic."""
    if manifest.spec.get("ownership") != "exact":
        return
    traffic = manifest.spec.get("traffic")
    shares = read_shares(live, TRAFFIC) if traffic is None else traffic
    for name in sorted(_list(live).keys() - manifest.spec.get("deployments", {}).keys()):
        if shares.get(name):
            yield find_at(
                manifest,
                ("ownership",) if traffic is None else ("traffic", name),
                f"{name} has {shares[name]} % of the traffic, and the manifest, which is exact,"
                " deletes it",
                f"Declare {name} in deployments, or give its traffic to another deployment.",
            )


def check_step(field: Field, manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield why the service would refuse a step, or what its guards refuse."""
    if step.after is ABSENT:
        return
    before, after = step.before, step.after
    yield from _check_workspaces(manifest, step)
    yield from _check_count(manifest, before, after)
    yield from _check_endpoint(field, manifest, step)
    for name in sorted(_list(before).keys() & _list(after).keys()):
        below = field.at(("deployments", name))
        one, other = _list(before)[name], _list(after)[name]
        if one is other:
            continue
        yield from _check_type(below, manifest, step, name)
        if name in read_shares(before, TRAFFIC):
            yield from _check_in_place(below, manifest, step, name)
        yield from _check_kept(below, manifest, ("deployments", name), one, other)
    yield from _check_failed(manifest, before, after)
    yield from _check_secrets(manifest, before, after)


def _check_workspaces(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield the assets of another workspace, which no deployment can use."""
    own = ID_FORM.get_scope(step.resource.id)
    for name, deployment in _list(step.after).items():
        for path, collection in ASSETS.items():
            asset = parse_id(find(deployment, path))
            if asset and asset.workspace and asset.workspace.casefold() != own.casefold():
                word = _word_of(path)
                said = f"{name} uses a version of {collection} in another workspace"
                step_ = "Register it in the workspace of the endpoint, or in a registry."
                yield find_at(manifest, ("deployments", name, *word), said, step_)


def _word_of(path: Path) -> Path:
    """Return where a manifest declares a value of a deployment."""
    return next((word.path for word in DEPLOYMENT if word.place == path), ())


def _check_count(manifest: Manifest, before: Json | Absent, after: Json) -> Iterator[Finding]:
    names = {*_list(before), *_list(after)}
    new = sorted(_list(after).keys() - _list(before).keys())
    if new and len(names) > MOST_DEPLOYMENTS:
        held = count(len(names), "deployment")
        said = f"the endpoint would have {held}; the limit is {MOST_DEPLOYMENTS}"
        yield find_at(manifest, ("deployments", new[0]), said, "Delete one that has no traffic.")


def _check_endpoint(field: Field, manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield changes of an endpoint that the service is not known to accept."""
    before, after = step.before, step.after
    if before is ABSENT:
        return
    address = step.resource.address
    for guard, path, said in (
        ("auth-mode", ("properties", "authMode"), "its callers need another key or token then"),
        ("identity", ("identity", "type"), "the new one needs the rights of the old one"),
    ):
        one, other = find(before, path), find(after, path)
        if one is not ABSENT and not same(field.at(path), one, other):
            found = forbid(
                address,
                guard,
                f"{path[-1]} changes from {one} to {other}",
                f"It is not known whether the service changes this in place, and {said}.",
                lift="Make another endpoint for it, or change it",
            )
            yield _put(manifest, found, (guard.replace("-", "_"),))
    yield from _check_kept(field, manifest, (), before, after)


def _check_kept(
    field: Field, manifest: Manifest, at: Path, before: Json, after: Json
) -> Iterator[Finding]:
    """Yield the properties that are changed or removed: the service only adds them."""
    path: Path = ("properties", "properties")
    one, other = find(before, path), find(after, path)
    for name, value in one.items() if isinstance(one, dict) else ():
        now = find(other, (name,))
        if field.at((*path, name)).read_only or now == value:
            continue
        verb = "removed" if now is ABSENT else "changed"
        said = f"the property {name} cannot be {verb}: the service only adds properties"
        step = f"Declare its live value: {value}" if isinstance(value, str) else "Declare it."
        yield find_at(manifest, (*at, "properties", name), said, step)


def _check_type(field: Field, manifest: Manifest, step: Step, name: str) -> Iterator[Finding]:
    one, other = (find(_list(each)[name], _TYPE) for each in (step.before, step.after))
    if isinstance(one, str) and not same(field.at(_TYPE), one, other):
        yield find_at(
            manifest,
            ("deployments", name, "instance_type"),
            f"the instance type of {name} cannot change from {one} to {other}",
            f"Declare instance_type: {one} for {name}, or another deployment.",
            detail=tuple(propose_other(manifest, step, name)),
        )


def _check_in_place(field: Field, manifest: Manifest, step: Step, name: str) -> Iterator[Finding]:
    """Yield a deployment that answers calls and gets something else to answer with."""
    one, other = _list(step.before)[name], _list(step.after)[name]
    changed = [
        word
        for path, word in _IN_PLACE.items()
        if not same(field.at(path), find(one, path), find(other, path))
    ]
    share = read_shares(step.before, TRAFFIC)[name]
    if changed:
        found = forbid(
            step.resource.address,
            "in-place",
            f"{name} has {share} % of the traffic, and would get another {' and '.join(changed)}",
            "Its instances are replaced one by one: old and new answer under one name, and it is"
            " not known what a failure leaves.",
            *propose_other(manifest, step, name),
            lift=f"To change {name}",
        )
        yield _put(manifest, found, ("deployments", name, "model"))


def propose_other(manifest: Manifest, step: Step, name: str) -> Iterator[str]:
    """Yield lines that show how another deployment gets what the manifest gives to `name`."""
    import yaml  # noqa: PLC0415 - only a finding needs it

    other = _choose_other(manifest, step, name)
    given = manifest.spec["deployments"][name]
    keeps = "keepOld" in manifest.spec.get("rollout", {})
    yield f"Write it to {other}, and move the traffic there" + (
        f"; {name} is deleted after keepOld:" if keeps else f". {name} stays without traffic:"
    )
    proposal = {"traffic": {other: 100}, "deployments": {other: given}}
    text = yaml.safe_dump(proposal, sort_keys=False, allow_unicode=True, width=100)
    yield from (f"  {line}" for line in text.splitlines())


def _choose_other(manifest: Manifest, step: Step, name: str) -> str:
    served = read_shares(step.before, TRAFFIC).keys() | read_shares(step.before, MIRROR).keys()
    taken = {name, *served, *manifest.spec.get("deployments", {})}
    more = (f"{name[:28]}-{number}" for number in range(2, 100))
    return next(one for one in (*COLOURS, *more) if one not in taken)


def _check_failed(manifest: Manifest, before: Json | Absent, after: Json) -> Iterator[Finding]:
    """Yield the traffic of a deployment that failed and is not written again."""
    had = read_shares(before, TRAFFIC)
    for name, share in read_shares(after, TRAFFIC).items():
        now = _list(before).get(name)
        state = find(now, ("properties", "provisioningState"))
        if state == "Failed" and _list(after).get(name) is now and share > had.get(name, 0):
            yield find_at(
                manifest,
                ("traffic", name),
                f"{name} would get {share} % of the traffic, and its last operation failed",
                f"Read its log: az ml online-deployment get-logs --name {name}. Then change it, or"
                " use another deployment.",
            )


def _check_secrets(manifest: Manifest, before: Json | Absent, after: Json) -> Iterator[Finding]:
    """Yield a warning for a new deployment that lacks secrets of the one whose calls it gets."""
    served = [_list(before)[name] for name in read_shares(before, TRAFFIC) if name in _list(before)]
    known = {name for one in served for name in one.get(HIDDEN) or ()}
    for name in sorted(read_shares(after, TRAFFIC).keys() - _list(before).keys()):
        given = find(manifest.spec, ("deployments", name, "environment_variables"))
        missing = sorted(known - (given.keys() if isinstance(given, dict) else set()))
        if missing:
            said = f"{name} lacks secrets of the deployment that has the traffic: "
            found = find_at(
                manifest,
                ("deployments", name),
                said + ", ".join(missing),
                f"If it needs them: environment_variables: {{{missing[0]}: {{env: NAME}}}}",
            )
            yield replace(found, severity="warning")


def _put(manifest: Manifest, finding: Finding, path: Path) -> Finding:
    """Return the finding at a place below the spec."""
    return replace(finding, place=manifest.place(format_pointer(("spec", *path))))


def _list(document: Json | Absent) -> Mapping[str, Json]:
    found = find(document, ("deployments",))
    return found if isinstance(found, dict) else {}
