"""What the words of a manifest mean in the service's document, in both directions.

The words are those of `az ml`. The two tables have the place of each value in the manifest and in
the document, and the form that converts it (code: azure-ai-ml 1.35).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from reconciler.document.comparers import Comparer
from reconciler.document.pointers import find, set_at
from reconciler.kinds.online_endpoint.addresses import compare_id
from reconciler.model import ABSENT, Absent, Json, Path
from reconciler.model.values import dataclass

_DURATION: Final = re.compile(
    r"P(?:([0-9]{1,9})D)?(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)S)?)?",
    re.ASCII,
)
_UNITS: Final = (86_400, 3_600, 60, 1)


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written in the manifest and in the document.

    `to_manifest` returns ABSENT for a value that no manifest can hold.
    """

    to_document: Callable[[Json], Json]
    to_manifest: Callable[[Json], Json | Absent]


@dataclass(frozen=True, slots=True)
class Word:
    """A value of a manifest: its path below the spec, its place in the document, and its form."""

    path: Path
    place: Path
    form: Form


def read_duration(text: Json) -> Decimal | None:
    """Return the seconds of a duration of ISO 8601 without months and years; None for others."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None or not any(found.groups()):
        return None
    parts = zip(found.groups(), _UNITS, strict=True)
    return sum((Decimal(number) * unit for number, unit in parts if number), Decimal(0))


def write_duration(seconds: Decimal) -> str:
    """Return seconds as a duration of ISO 8601, such as PT0.5S."""
    text = f"{seconds:f}"
    return f"PT{text.rstrip('0').rstrip('.') if '.' in text else text}S"


def _compare_duration(value: Json) -> Json:
    seconds = read_duration(value)
    return value if seconds is None else write_duration(seconds)


COMPARERS: Final[Mapping[str, Comparer]] = {
    "duration": _compare_duration,
    "asset-id": compare_id,
}


def _make_words(words: Mapping[Json, str]) -> Form:
    """Return the form of a value that is one of some words."""
    plain = {said.casefold(): word for word, said in words.items()}

    def to_manifest(value: Json) -> Json | Absent:
        return plain.get(value.casefold(), ABSENT) if isinstance(value, str) else ABSENT

    return Form(lambda word: words[word], to_manifest)


def _make_duration(unit: Decimal) -> Form:
    """Return the form of a whole number of units, which are a part of a second."""

    def to_manifest(value: Json) -> Json | Absent:
        seconds = read_duration(value)
        if seconds is None or seconds % unit:
            return ABSENT
        return int(seconds / unit)

    return Form(lambda number: write_duration(Decimal(number) * unit), to_manifest)


def _keep(value: Json) -> Json | Absent:
    return ABSENT if value is None else value


def _keep_texts(value: Json) -> Json | Absent:
    """Return the texts of a map; a manifest cannot hold the others."""
    if not isinstance(value, dict):
        return ABSENT
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _strip_scheme(text: str) -> str:
    """Return a whole id without `azureml:` before it, which the service does not take."""
    return text.removeprefix("azureml:") if text.startswith("azureml:/subscriptions/") else text


def _list_identities(value: Json) -> Json | Absent:
    return list(value) if isinstance(value, dict) and value else ABSENT


def _map_identities(given: Json) -> Json:
    return {one if isinstance(one, str) else one["resource_id"]: {} for one in given}


_PLAIN: Final = Form(lambda value: value, _keep)
_TEXTS: Final = Form(lambda value: value, _keep_texts)
_ASSET: Final = Form(_strip_scheme, _keep)
_SWITCH: Final = _make_words({"enabled": "Enabled", "disabled": "Disabled"})
_SECONDS: Final = _make_duration(Decimal(1))
_MILLISECONDS: Final = _make_duration(Decimal("0.001"))
_YES: Final = (True, "True", "true")

ENDPOINT: Final = (
    Word(
        ("auth_mode",),
        ("properties", "authMode"),
        _make_words({"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}),
    ),
    Word(
        ("identity", "type"),
        ("identity", "type"),
        _make_words({"system_assigned": "SystemAssigned", "user_assigned": "UserAssigned"}),
    ),
    Word(
        ("identity", "user_assigned_identities"),
        ("identity", "userAssignedIdentities"),
        Form(_map_identities, _list_identities),
    ),
    Word(("public_network_access",), ("properties", "publicNetworkAccess"), _SWITCH),
    Word(("description",), ("properties", "description"), _PLAIN),
    Word(("tags",), ("tags",), _TEXTS),
    Word(("properties",), ("properties", "properties"), _TEXTS),
    Word(("traffic",), ("properties", "traffic"), _PLAIN),
    Word(("mirror_traffic",), ("properties", "mirrorTraffic"), _PLAIN),
)
_COLLECTION: Final = (
    Word(
        ("enabled",),
        ("dataCollectionMode",),
        Form(
            lambda said: "Enabled" if said in _YES else "Disabled",
            _make_words({True: "Enabled", False: "Disabled"}).to_manifest,
        ),
    ),
    Word(("data",), ("dataId",), _ASSET),
    Word(("sampling_rate",), ("samplingRate",), _PLAIN),
    Word(("client_id",), ("clientId",), _PLAIN),
)


def _bind_collections(given: Json) -> Json:
    return {name: bind_words(_COLLECTION, one) for name, one in given.items()}


def _export_collections(value: Json) -> Json | Absent:
    if not isinstance(value, dict):
        return ABSENT
    named = ((name, one) for name, one in value.items() if isinstance(one, dict))
    return {name: export_words(_COLLECTION, one) for name, one in named}


_COLLECTIONS: Final = Form(_bind_collections, _export_collections)


def _list_probe(word: str, place: str) -> Iterable[Word]:
    forms = {
        "initial_delay": ("initialDelay", _SECONDS),
        "period": ("period", _SECONDS),
        "timeout": ("timeout", _SECONDS),
        "success_threshold": ("successThreshold", _PLAIN),
        "failure_threshold": ("failureThreshold", _PLAIN),
    }
    for name, (below, form) in forms.items():
        yield Word((word, name), ("properties", place, below), form)


def _requests(word: str, place: str, form: Form) -> Word:
    return Word(("request_settings", word), ("properties", "requestSettings", place), form)


DEPLOYMENT: Final = (
    Word(("model",), ("properties", "model"), _ASSET),
    Word(("environment",), ("properties", "environmentId"), _ASSET),
    Word(("code_configuration", "code"), ("properties", "codeConfiguration", "codeId"), _ASSET),
    Word(
        ("code_configuration", "scoring_script"),
        ("properties", "codeConfiguration", "scoringScript"),
        _PLAIN,
    ),
    Word(("instance_type",), ("properties", "instanceType"), _PLAIN),
    Word(("instance_count",), ("sku", "capacity"), _PLAIN),
    Word(("environment_variables",), ("properties", "environmentVariables"), _TEXTS),
    _requests("request_timeout_ms", "requestTimeout", _MILLISECONDS),
    _requests("max_concurrent_requests_per_instance", "maxConcurrentRequestsPerInstance", _PLAIN),
    *_list_probe("liveness_probe", "livenessProbe"),
    *_list_probe("readiness_probe", "readinessProbe"),
    Word(("app_insights_enabled",), ("properties", "appInsightsEnabled"), _PLAIN),
    Word(("egress_public_network_access",), ("properties", "egressPublicNetworkAccess"), _SWITCH),
    Word(("model_mount_path",), ("properties", "modelMountPath"), _PLAIN),
    Word(
        ("data_collector", "collections"),
        ("properties", "dataCollector", "collections"),
        _COLLECTIONS,
    ),
    Word(
        ("data_collector", "rolling_rate"),
        ("properties", "dataCollector", "rollingRate"),
        _make_words({word: word.title() for word in ("year", "month", "day", "hour", "minute")}),
    ),
    Word(
        ("data_collector", "request_logging", "capture_headers"),
        ("properties", "dataCollector", "requestLogging", "captureHeaders"),
        _PLAIN,
    ),
    Word(
        ("scale_settings", "type"),
        ("properties", "scaleSettings", "scaleType"),
        _make_words({"default": "Default"}),
    ),
    Word(("description",), ("properties", "description"), _PLAIN),
    Word(("tags",), ("tags",), _TEXTS),
    Word(("properties",), ("properties", "properties"), _TEXTS),
)


def place_value(path: Path, value: Json | Absent) -> tuple[Path, Json | Absent] | None:
    """Return where a manifest declares a value of the document, and the value in its words.

    None for a value that no word of a manifest has.
    """
    if path[:1] != ("deployments",):
        return _find_word(ENDPOINT, path, value, ("spec",))
    if len(path) < 3:
        return None
    return _find_word(DEPLOYMENT, path[2:], value, ("spec", *path[:2]))


def _find_word(
    words: Iterable[Word], path: Path, value: Json | Absent, above: Path
) -> tuple[Path, Json | Absent] | None:
    for word in words:
        length = len(word.place)
        if path[:length] != word.place:
            continue
        at, below = (*above, *word.path), path[length:]
        if word.form is _COLLECTIONS and len(below) > 1:
            return _find_word(_COLLECTION, below[1:], value, (*at, below[0]))
        if below or value is ABSENT:
            return (*at, *below), value
        said = word.form.to_manifest(value)
        return None if said is ABSENT else (at, said)
    return None


def bind_words(words: Iterable[Word], given: Json) -> Json:
    """Return the part of the document that the words of a manifest declare."""
    document: Json = {}
    for word in words:
        value = find(given, word.path)
        if value is not ABSENT:
            set_at(document, word.place, word.form.to_document(value))
    return document


def export_words(words: Iterable[Word], document: Json) -> Json:
    """Return the words of a manifest for the values of a document that a manifest can hold."""
    spec: Json = {}
    for word in words:
        value = find(document, word.place)
        said = ABSENT if value in (ABSENT, None) else word.form.to_manifest(value)
        if said is not ABSENT:
            set_at(spec, word.path, said)
    return spec
