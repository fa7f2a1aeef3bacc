"""The refresh of a Classic endpoint: when it is due, and what it overwrites.

An endpoint keeps the version of its web service with which it was made. Another publication moves
only the default endpoint. A refresh takes the other endpoints to the published version, with or
without the published models (azuremlps; Classic management Swagger). The kind calls this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.document.pointers import find
from reconciler.model import DueCall, Finding, Json, Manifest, Step
from reconciler.plans.guards import forbid

DEFAULT: Final = "default"
VERSION: Final = "Version"
OVERWRITE: Final = "OverwriteResources"
_MOST_NAMED: Final = 20


def find_published(peers: Sequence[Json]) -> str | None:
    """Return the published version: that of the default endpoint; None if it is not shown."""
    shown = next((one.get(VERSION) for one in peers if one["Name"] == DEFAULT), None)
    return shown if isinstance(shown, str) else None


def is_same_version(one: Json, other: Json) -> bool:
    """Whether two versions are the same time."""
    instant = COMPARERS["instant"]
    return bool(instant(one) == instant(other))


def find_due_refresh(
    manifest: Manifest, live: Json, peers: Sequence[Json]
) -> DueCall | Finding | None:
    """Return the refresh if the endpoint does not have the published version."""
    if live.get("Name") == DEFAULT:
        return _refuse(
            manifest,
            "the default endpoint cannot be refreshed: it follows every publication",
            "Remove spec.refresh.",
        )
    version, published = live.get(VERSION), find_published(peers)
    if published is None or not isinstance(version, str):
        return _refuse(
            manifest,
            "it is not known whether a refresh is due: the published version is that of the default"
            " endpoint, which was not read",
            "Plan with --refresh auto and the token of the workspace: an endpoint's key lists no"
            " endpoints.",
        )
    if is_same_version(version, published):
        return None
    overwrite = manifest.spec["refresh"]["overwriteResources"]
    models = "are replaced" if overwrite else "stay"
    note = f"by a refresh: the web service was published again; the endpoint's models {models}"
    return DueCall("refresh", {VERSION: published, OVERWRITE: overwrite}, note, overwrite)


def find_refresh(step: Step) -> bool | None:
    """Return whether the refresh of a step overwrites the models; None without a refresh."""
    found = [one.after for one in step.changes if one.called and one.path == (OVERWRITE,)]
    return found[0] is True if found else None


def check_refresh(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield why the refresh of a step is impossible, or must not happen unnoticed."""
    overwrites = find_refresh(step)
    if overwrites is None:
        return
    if find(step.before, ("PreventUpdate",)) is True:
        yield _refuse(
            manifest,
            "the endpoint has PreventUpdate: true, so the service does not refresh it",
            "Remove spec.refresh, or declare PreventUpdate: false, which replaces the endpoint.",
            subject=str(step.resource.address),
        )
    if overwrites:
        sent = {model.path[1] for model in step.models}
        shown = find(step.before, ("Resources",))
        names = sorted(shown) if isinstance(shown, dict) else []
        yield forbid(
            step.resource.address,
            "refresh",
            "is refreshed with OverwriteResources, which replaces its models with the published"
            " ones",
            *(_describe(name, again=name in sent) for name in names[:_MOST_NAMED]),
            *([f"and {len(names) - _MOST_NAMED:,} more"] if len(names) > _MOST_NAMED else []),
            lift="To refresh it",
        )


def _describe(name: str, *, again: bool) -> str:
    then = "is declared, so it is sent again" if again else "is not declared, so it is replaced"
    return f'trained model "{name}" {then}'


def _refuse(manifest: Manifest, message: str, next_step: str, subject: str = "") -> Finding:
    return Finding(
        message,
        subject=subject or str(manifest.address),
        place=manifest.place("/spec/refresh") if manifest.file else None,
        next_step=next_step,
    )
