"""The calls of Classic's management: its URLs and verbs, one token for each workspace.

What a write comes to is told by no operation: a PATCH is taken at once and takes effect within
about half a minute (documented: retrain-classic-web-service). It says what is to be, so that it is
sent again where its answer was lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Final
from urllib.parse import urlsplit

from reconciler.document.normalize import normalize
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field
from reconciler.errors import (
    BlobForbidden,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    TooManyCalls,
    Unauthorized,
    Unavailable,
)
from reconciler.kinds.endpoint.addresses import HOSTS, ID_FORM, REGIONS
from reconciler.kinds.ids import quote_path
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Json,
    Live,
    Resource,
    SecretReference,
    ServiceTiming,
    Step,
    Summary,
)
from reconciler.ports import Access, ResolveSecret
from reconciler.secrets.signatures import strip_credentials
from reconciler.transport import (
    Client,
    Reply,
    check_sendable,
    check_validity,
    is_loopback,
    split_address,
)

# No limit of calls was ever published. It takes about 30 s until a PATCH takes effect.
_REAL: Final = ServiceTiming(1.0, 0, 0, inf, 0, inf, lag_s=45.0, models_apart=True)
_LOCAL: Final = ServiceTiming(0.1, 0, 0, inf, 0, inf, lag_s=1.0, models_apart=True)
_PUT: Final = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "PreventUpdate")
_PATCH: Final = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "DiagnosticsTraceLevel")
_TRIES: Final = 3
_OPENS: Final = (
    "The workspace's own token is needed (Studio: Settings, Authorization Tokens): an endpoint's"
    " key opens that endpoint alone, and neither lists, makes nor deletes."
)


class EndpointProvider:
    """Reads and writes endpoints. Safe to use from several threads."""

    def __init__(self, access: Access, field: Field) -> None:
        self._access, self._field = access, field
        self._base = access.find_url("studioManagement")
        self.timing = _LOCAL if is_loopback(self._base) else _REAL
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}
        self._listed: dict[str, list[Json]] = {}

    def scan(self, scope: str, token: SecretReference | None = None) -> Iterator[Summary]:
        """The endpoints of a web service. Nothing of them moves with every change."""
        for one in self._list(scope, token):
            yield Summary(f"{scope}/endpoints/{one['Name']}", "", idle=False)

    def read_many(self, resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        """A list holds whole endpoints (published description); a key of one may not list."""
        scope, token = ID_FORM.get_scope(resources[0].id), resources[0].token
        try:
            found = {one["Name"]: one for one in self._list(scope, token)}
        except TooManyCalls:
            raise
        except ReconcilerError:
            return {}
        named = ((one, found.get(one.short_id)) for one in resources)
        now = datetime.now(UTC)
        return {one: Live(shown, None, now) for one, shown in named if shown is not None}

    def find_peers(self, resource: Resource) -> Sequence[Json]:
        """All endpoints of the web service, as they were listed last."""
        scope = ID_FORM.get_scope(resource.id)
        if scope not in self._listed:
            self.read_many([resource])
        return self._listed.get(scope, ())

    def read(self, resource: Resource) -> Live | Absent:
        """The endpoint now.

        ABSENT only where the web service is there and has none of that name: which 404 means what
        is not known, nor whether a missing endpoint is answered with 204 (both are published).
        """
        try:
            reply = self._send("GET", resource.id, resource.token)
            if reply.status != 204:
                return Live(self._normalize_endpoint(reply.document), None, datetime.now(UTC))
        except Rejected as error:
            if error.status != 404:
                raise
        scope = ID_FORM.get_scope(resource.id)
        if scope not in self._listed:
            self._list(scope, resource.token)
        return ABSENT

    def write(self, step: Step, _live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        """A new endpoint is a PUT, and its models are a PATCH like those of any other.

        Raises BlobExpired or BlobForbidden for a signature that is no use, before anything is sent.
        """
        resource, after = step.resource, {} if step.after is ABSENT else step.after
        made = _PUT if step.action in {Action.CREATE, Action.REPLACE} else ()
        changed = {str(change.path[0]) for change in step.changes if change.path}
        sent = {*after} - {*made} if made else changed
        body = {name: after[name] for name in sorted(sent & {*_PATCH}) if name in after}
        models = list(_make_resources(step, resolve)) if "Resources" in sent else []
        body |= {"Resources": models} if models else {}
        if step.action in {Action.DELETE, Action.REPLACE}:
            yield from self._write("DELETE", resource, None)
        if made:
            put = {name: after[name] for name in made if name in after}
            yield from self._write("PUT", resource, put)
        if body:
            yield from self._write("PATCH", resource, body)

    def _write(self, method: str, resource: Resource, body: Json) -> Iterator[None]:
        """Send a write; a PATCH again where it was lost, or refused as is at times (reported)."""
        for left in range(_TRIES, 0, -1):
            try:
                self._send(method, resource.id, resource.token, body)
            except (ReplyLost, Rejected) as error:
                if method == "DELETE" and error.status == 404:
                    return
                # A model is refused at times, in words that nobody wrote down (reported).
                refused = error.status == 400 and "Resources" in (body or {})
                again = method == "PATCH" and (refused or isinstance(error, ReplyLost))
                if left == 1 or not again:
                    raise
                yield
            else:
                return

    def _list(self, scope: str, token: SecretReference | None) -> list[Json]:
        """The documents of a web service's endpoints; 204 and no body means none (published)."""
        reply = self._send("GET", f"{scope}/endpoints", token)
        items = [] if reply.status == 204 else reply.document
        if not isinstance(items, list):
            raise Unavailable("the service answers a list without items", status=reply.status)
        self._listed[scope] = found = [self._normalize_endpoint(one) for one in items]
        return found

    def _normalize_endpoint(self, raw: Json) -> Json:
        """An endpoint as it is kept: its resources by name, where each lies as one address."""
        shown = normalize(self._field, raw)
        if not isinstance(shown, dict) or not isinstance(shown.get("Name"), str):
            raise Unavailable("the service answers no endpoint", next_step="Plan again.")
        models = shown.get("Resources")
        if not isinstance(models, list):
            return {name: said for name, said in shown.items() if name != "Resources"}
        below = self._field.at(("Resources", "*"))
        named = [normalize(below, one) for one in models if isinstance(one, dict)]
        return {**shown, "Resources": {str(one.get("Name")): _locate(one) for one in named}}

    def _send(
        self, method: str, path: str, token: SecretReference | None, body: Json = None
    ) -> Reply:
        region, _, rest = path.removeprefix("/").partition("/")
        client = self._client(region)
        url = quote_path(f"/{rest}", "id of an endpoint")
        try:
            return client.send(method, url, body, self._open(token))
        except ServiceError as error:
            raise _explain(error, client.base_url, REGIONS.get(region, region)) from error

    def _open(self, token: SecretReference | None) -> str:
        if token is not None:
            cure = "Put the token there and nothing else: no blank, no line end."
            return check_sendable(self._access.resolve(token), "the workspace's", str(token), cure)
        if is_loopback(self._base):
            return ""
        raise Unauthorized(
            "no workspace token is given",
            next_step="Refer to it: spec.resource: {token: {env: NAME}}, or in spec.defaults of the"
            " project file. Studio shows it under Settings, Authorization Tokens.",
        )

    def _client(self, region: str) -> Client:
        """Each region has a host of its own; another address than Azure's serves them all."""
        own = urlsplit(self._base).hostname != HOSTS["southcentralus"]
        base = self._base if own or region not in HOSTS else f"https://{HOSTS[region]}"
        with self._lock:
            if base not in self._clients:
                access = self._access
                self._clients[base] = Client(
                    base, access.emit, access.rate_limiter, redaction=access.redaction
                )
            return self._clients[base]


def _locate(shown: dict[str, Json]) -> dict[str, Json]:
    """One address of base and relative location, that of the blob alone; none where one lacks."""
    kept = {name: said for name, said in shown.items() if name != "Location"}
    said = shown.get("Location")
    parts = {name.casefold(): one for name, one in said.items()} if isinstance(said, dict) else {}
    base, relative = (parts.get(name) for name in ("baselocation", "relativelocation"))
    if isinstance(base, str) and isinstance(relative, str) and base and relative:
        kept["Location"] = strip_credentials(f"{base.rstrip('/')}/{relative.lstrip('/')}")
    return kept


def _make_resources(step: Step, resolve: ResolveSecret) -> Iterator[Json]:
    """Every declared model: whether a PATCH of one leaves the others alone is not known."""
    secrets = dict(step.secrets)
    for path in map(split_pointer, step.owned_paths):
        uri = find(step.after, path)
        if path[:1] == ("Resources",) and path[-1] == "Location" and isinstance(uri, str):
            base, name = f"{split_address(uri).account_url}/", path[1]
            reference = secrets.get(format_pointer((*path[:2], "SasBlobToken")))
            if reference is None:
                said, cure = "no signature is given", "Refer to one: sas: {env: NAME}"
                raise BlobForbidden(said, subject=f'trained model "{name}"', next_step=cure)
            signature = resolve(reference)
            check_validity(signature, f'trained model "{name}"', datetime.now(UTC))
            token = f"?{signature.lstrip('?')}"
            where = {"BaseLocation": base, "RelativeLocation": uri[len(base) :]}
            yield {"Name": name, "Location": {**where, "SasBlobToken": token}}


def _explain(error: ServiceError, host: str, region: str) -> ServiceError:
    """What a refusal means here: nothing in Classic's own words tells a token from a region."""
    said = {
        401: _OPENS,
        403: _OPENS,
        404: "Check spec.resource.workspace and webService, and that the web service is there.",
    }.get(error.status)
    if said is not None:
        elsewhere = f"{host} was asked, which serves {region}; spec.resource.region names another."
        error.next_step = f"{said} {elsewhere}"
    return error
