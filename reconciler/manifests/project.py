"""Makes a `Project` from the project file's document, which is already checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from reconciler.document.comparers import COMPARERS
from reconciler.document.forms import check_host
from reconciler.files import resolve_path
from reconciler.manifests.schema import unknown_word
from reconciler.model import (
    Address,
    Cloud,
    Finding,
    GuardLimits,
    Json,
    Project,
    SecretReference,
    Webhook,
)
from reconciler.plans.guards import GUARDS, NEVER_LIFTED
from reconciler.plans.history import resolve_moves
from reconciler.ports import Kind, Plane

# The emulator's blob storage.
_EMULATED_BLOB: Final = "http://127.0.0.1:10000"
# The folder of the ledger, unless the project names another.
LEDGER: Final = ".reconciler"


def make_project(
    document: Json,
    root: Path,
    file: str,
    digest: str,
    planes: Sequence[Plane],
    environment: str = "",
) -> Project:
    """Returns the project of a checked document; `root` is the folder of its file.

    The `environment` with this name is laid over the document already.
    """
    spec = document.get("spec") or {}
    guards = spec.get("guards", {})
    ledger = spec.get("ledger", {})
    watch = spec.get("watch", {})
    return Project(
        name=document["metadata"]["name"],
        root=str(resolve_path(root)),
        file=file,
        cloud=make_cloud(spec.get("cloud", "azure"), planes),
        defaults=dict(spec.get("defaults", {})),
        guards=GuardLimits(
            max_deletes=guards.get("maxDeletes", 0),
            max_updates=guards.get("maxUpdates", "30%"),
            blobs=guards.get("blobs", "required"),
            liftable=tuple(guards["allow"]) if "allow" in guards else None,
        ),
        ledger=ledger.get("path", f"{LEDGER}/{environment}".rstrip("/")),
        digest=digest,
        moved=_read_moved(spec),
        ledger_container=normalize_url(ledger.get("container", "")),
        ledger_prefix=ledger.get("prefix", ""),
        environment=environment,
        requirements=tuple((spec.get("pullRequests") or {}).get("requirements", ())),
        webhooks=tuple(
            Webhook(SecretReference(**one["url"]), one.get("format", "generic"))
            for one in watch.get("webhooks", ())
        ),
        report_url=watch.get("reportUrl", ""),
    )


def _read_moved(spec: Json) -> dict[Address, Address]:
    """The current address for each old one: a chain of entries is followed only here."""
    entries = spec.get("moved", ())
    ends = resolve_moves({Address.parse(one["from"]): Address.parse(one["to"]) for one in entries})
    return {old: end for old, end in ends.items() if end is not None}


def check_addresses(document: Json) -> Iterator[tuple[str, Finding]]:
    """Yields the addresses that no call can be sent to, with their pointers."""
    spec = document.get("spec") or {}
    cloud, container = spec.get("cloud"), (spec.get("ledger") or {}).get("container")
    given = {f"cloud/{name}": url for name, url in cloud.items()} if type(cloud) is dict else {}
    given |= {"ledger/container": container} if container else {}
    for place, url in given.items():
        if not _is_callable(url):
            yield (
                f"/spec/{place}",
                Finding(
                    f"{place.partition('/')[2]} is not an address that can be called",
                    next_step="Write it as https://HOST or https://HOST:PORT.",
                ),
            )


def find_guards(kinds: Mapping[str, Kind]) -> Mapping[str, str]:
    """Returns what each guard protects against, by its name; those of the kinds come last."""
    brought = (guard for kind in kinds.values() for guard in kind.guards.items())
    return {**GUARDS, **dict(brought)}


def check_guards(document: Json, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Finding]]:
    """Yields the names in `spec.guards.allow` that no flag lifts, with their pointers."""
    named = ((document.get("spec") or {}).get("guards") or {}).get("allow", ())
    known = tuple(find_guards(kinds)) if named else ()
    for number, name in enumerate(named):
        if name in NEVER_LIFTED:
            finding = Finding(f"no flag lifts the guard {name}", next_step="Remove it.")
            yield f"/spec/guards/allow/{number}", finding
        elif name not in known:
            yield f"/spec/guards/allow/{number}", unknown_word("guard", name, known)


def _is_callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        check_host(parts)
        port = parts.port
    except ValueError:  # of the brackets, the port, or the host
        return False
    return port != 0


def make_cloud(given: Json, planes: Sequence[Plane]) -> Cloud:
    """Returns the cloud that `spec.cloud` names or describes; `planes` are those of all kinds."""
    if given == "azure":
        return _name({one.name: one.azure for one in planes if one.azure}, planes, "")
    if given == "emulator":
        urls = {one.name: one.emulator for one in planes if one.emulator}
        return replace(_name(urls, planes, _EMULATED_BLOB), emulated=True)
    given = {name: normalize_url(url) for name, url in given.items()}
    urls = {name: url for name, url in given.items() if name != "blob"}
    # An emulator on this machine serves every plane, so that no request goes to Azure by mistake.
    local = next((url for url in urls.values() if url.startswith("http:")), "")
    usual = {one.name: local or one.azure for one in planes if one.azure}
    return _name({**usual, **urls}, planes, given.get("blob", ""))


def normalize_url(url: str) -> str:
    """The one form of a URL: an equal URL in another spelling is not another cloud or ledger."""
    return str(COMPARERS["blob-uri"](url)).rstrip("/")


def _name(urls: Mapping[str, str], planes: Sequence[Plane], blob: str) -> Cloud:
    """The cloud with its name: the addresses that manage resources, each once.

    If all of them are Azure's own, the first one is a sufficient name.
    """
    known = {one.name: one.azure for one in planes if one.manages}
    managing = [name for name in sorted(known) if name in urls]
    named = list(dict.fromkeys(urls[name] for name in managing))
    usual = all(urls[name] == known[name] for name in managing)
    return Cloud(" ".join(named[:1] if usual else named), urls, blob)
