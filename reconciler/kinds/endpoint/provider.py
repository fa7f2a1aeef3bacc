"""The calls of Classic's management: its URLs and verbs, and one token for each workspace.

No operation reports the result of a write. The service accepts a PATCH at once, and the change
takes effect within about half a minute (documented: retrain-classic-web-service). A PATCH is
idempotent, so it is sent again if its reply was lost. The engine calls this module. It is long
because every call of the management plane is in it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field
from reconciler.errors import (
    BlobForbidden,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    StalePlan,
    StillRunning,
    TooManyCalls,
    Unauthorized,
    Unavailable,
)
from reconciler.kinds.endpoint.addresses import HOSTS, ID_FORM, REGIONS, SERVED
from reconciler.kinds.endpoint.refresh import (
    DEFAULT,
    OVERWRITE,
    VERSION,
    find_refresh,
    is_same_version,
)
from reconciler.kinds.endpoint.replies import make_foreign, normalize_endpoint
from reconciler.kinds.ids import quote_path
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Finding,
    Json,
    Live,
    Resource,
    SecretReference,
    ServiceTiming,
    Step,
    Summary,
)
from reconciler.ports import Access, ResolveSecret
from reconciler.text.durations import growing_waits
from reconciler.transport import (
    NOT_MODIFIED,
    Client,
    Reply,
    check_complete,
    check_sendable,
    check_validity,
    clean,
    is_loopback,
    read_signature,
    split_address,
)

if TYPE_CHECKING:  # start-up: only retrain and verify need them
    from reconciler.kinds.batch import BatchService
    from reconciler.kinds.data_plane import DataPlane
    from reconciler.kinds.scoring import ScoringService

# A limit of calls was never published. A PATCH takes effect after about 30 s.
_REAL: Final = ServiceTiming(1.0, 0, 0, inf, 0, inf, lag_s=45.0, models_apart=True)
_LOCAL: Final = ServiceTiming(0.1, 0, 0, inf, 0, inf, lag_s=1.0, models_apart=True)
_PUT: Final = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "PreventUpdate")
_PATCH: Final = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "DiagnosticsTraceLevel")
_TRIES: Final = 3
# For how many times the usual lag a refresh may take until the rest of its step is not sent.
_PATIENCE: Final = 10
_OPENS: Final = (
    "Use the workspace's token (Studio: Settings, Authorization Tokens). An endpoint's key opens"
    " only that endpoint; it cannot list, create or delete endpoints."
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
        """Yield the endpoints of a web service. No field of an endpoint changes at every write."""
        for one in self._list(scope, token):
            yield Summary(f"{scope}/endpoints/{one['Name']}", "", idle=False)

    def read_many(self, resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        """Return the endpoints that the list of their web service shows.

        A list holds whole endpoints (published description). The result is empty if the token is
        not allowed to list, for example if it is the key of one endpoint.
        """
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
        """Return all endpoints of the web service, from the last list."""
        scope = ID_FORM.get_scope(resource.id)
        if scope not in self._listed:
            self.read_many([resource])
        return self._listed.get(scope, ())

    def list_names(self, scope: str, token: SecretReference | None) -> Iterator[tuple[str, str]]:
        """Yield the id and the name of each web service of a workspace.

        204 and no body mean an empty list (published). Two may have the same name.
        """
        reply = self._send("GET", f"{scope}/webservices", token, listed=True)
        if reply.status == 204:
            return
        check_complete(reply)
        items = reply.document if isinstance(reply.document, list) else [None]
        for one in items:
            shown = (
                {word.casefold(): said for word, said in one.items()}
                if isinstance(one, dict)
                else {}
            )
            found, name, where = (shown.get(word) for word in ("id", "name", "workspaceid"))
            if not (isinstance(found, str) and found and isinstance(name, str) and name):
                raise Unavailable(
                    "the service did not return a list of web services", status=reply.status
                )
            if where is not None and where != scope.rpartition("/")[2]:
                raise make_foreign("the service answers with web services of another workspace")
            yield found, name

    def read(self, resource: Resource) -> Live | Absent:
        """Return the endpoint as it is now.

        The published description has both 404 and 204 for a missing endpoint, and it does not say
        which 404 means a missing web service. The list of the web service shows this: the engine
        reads it before it believes an absence.
        """
        try:
            reply = self._send("GET", resource.id, resource.token)
        except Rejected as error:
            if error.status != 404:
                raise
            return ABSENT
        if reply.status == 204:
            return ABSENT
        check_complete(reply)
        shown = normalize_endpoint(self._field, reply.document, ID_FORM.get_scope(resource.id))
        if shown["Name"].casefold() != resource.short_id.casefold():
            raise make_foreign(f"the service answers with another endpoint, {clean(shown['Name'])}")
        return Live(shown, None, datetime.now(UTC))

    def write(self, step: Step, _live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        """Send a new endpoint as a PUT; send models as a PATCH, also for a new endpoint.

        A refresh comes first, because it may replace models. Raises BlobExpired or BlobForbidden
        for an unusable signature, and StalePlan if the web service was published again since the
        plan, before it sends anything.
        """
        resource, after = step.resource, {} if step.after is ABSENT else step.after
        made = _PUT if step.action in {Action.CREATE, Action.REPLACE} else ()
        changed = {str(change.path[0]) for change in step.changes if change.path}
        sent = {*after} - {*made} if made else changed
        body = {name: after[name] for name in sorted(sent & {*_PATCH}) if name in after}
        models = (
            list(_make_resources(step, resolve, self._now(resource))) if "Resources" in sent else []
        )
        body |= {"Resources": models} if models else {}
        overwrites = find_refresh(step)
        if overwrites is not None:
            yield from self._refresh(step, overwrites=overwrites, alone=not body)
        if step.action in {Action.DELETE, Action.REPLACE}:
            yield from self._write("DELETE", resource, None)
        if made:
            put = {name: after[name] for name in made if name in after}
            yield from self._write("PUT", resource, put)
        if body:
            yield from self._write("PATCH", resource, body)

    def _refresh(self, step: Step, *, overwrites: bool, alone: bool) -> Iterator[None]:
        """Refresh an endpoint to the version of the plan, and wait for it if more is to be sent.

        304 means that the endpoint has the published version already (azuremlps). A refresh is
        not sent again: only a read shows whether it was done.
        """
        resource = step.resource
        self._check_published(step)
        body = {OVERWRITE: str(overwrites)}  # as text, as the recorded client sends it
        path = f"{resource.id}/refresh"
        reply = self._send("POST", path, resource.token, body, answers={NOT_MODIFIED})
        yield
        if not alone and reply.status != NOT_MODIFIED:
            yield from self._await_version(step)

    def _check_published(self, step: Step) -> None:
        """Raise StalePlan if the web service was published again since the plan."""
        scope = ID_FORM.get_scope(step.resource.id)
        default = Resource(
            step.resource.address, f"{scope}/endpoints/{DEFAULT}", step.resource.token
        )
        live, planned = self.read(default), step.after[VERSION]
        published = None if live is ABSENT else live.document.get(VERSION)
        if not is_same_version(published, planned):
            finding = Finding(
                "Saved plan is stale: the web service was published again",
                subject=str(step.resource.address),
                detail=(
                    f"The plan refreshes to: {planned}",
                    f"The service has:       {published or 'no published version'}",
                ),
                next_step="Plan again, and review the version that is published now.",
            )
            raise StalePlan((finding,))

    def _await_version(self, step: Step) -> Iterator[None]:
        """Read until the refresh has taken effect: what is sent before might be overwritten."""
        client = self._client(step.resource.id.split("/")[1])
        end = client.clock() + self.timing.lag_s * _PATIENCE
        for pause in growing_waits(0.1, 2.0, 1.5):
            live = self.read(step.resource)
            shown = None if live is ABSENT else live.document.get(VERSION)
            if is_same_version(shown, step.after[VERSION]):
                return
            if client.clock() >= end:
                raise StillRunning(
                    "the refresh has not taken effect, so the rest was not sent",
                    next_step="Apply again: it finds the result of the refresh first.",
                )
            client.sleep(pause)
            yield

    def open_jobs(self, resource: Resource) -> BatchService:
        """Return the batch execution of an endpoint."""
        return self._open_data_plane(resource).jobs

    def open_scorer(self, resource: Resource, within_s: float | None = None) -> ScoringService:
        """Return the scoring of an endpoint."""
        return self._open_data_plane(resource, within_s).scorer

    def _open_data_plane(self, resource: Resource, within_s: float | None = None) -> DataPlane:
        """Return the calls of an endpoint with its primary key, which its document shows."""
        from reconciler.kinds.data_plane import (  # noqa: PLC0415 - start-up: few commands need it
            miss,
            open_data_plane,
        )

        try:
            reply = self._send("GET", resource.id, resource.token)
        except Rejected as error:
            if error.status != 404:
                raise
            raise miss(resource) from error
        if reply.status == 204:
            raise miss(resource)
        shown = reply.raw if isinstance(reply.raw, dict) else {}
        location, key = shown.get("ApiLocation"), shown.get("PrimaryKey")
        return open_data_plane(self._access, location, key, resource, within_s)

    def _write(self, method: str, resource: Resource, body: Json) -> Iterator[None]:
        """Send a write. Send a PATCH again if its reply was lost or it was refused at random.

        Users reported that the service sometimes refuses a valid PATCH of a model.
        """
        for left in range(_TRIES, 0, -1):
            try:
                self._send(method, resource.id, resource.token, body)
            except (ReplyLost, Rejected) as error:
                if method == "DELETE" and error.status == 404:
                    return
                # The text of that refusal was never recorded, so any 400 for a model counts.
                refused = error.status == 400 and "Resources" in (body or {})
                again = method == "PATCH" and (refused or isinstance(error, ReplyLost))
                if left == 1 or not again:
                    raise
                if isinstance(error, ReplyLost):
                    yield
            else:
                yield
                return

    def _list(self, scope: str, token: SecretReference | None) -> list[Json]:
        """Return the endpoints of a web service; 204 and no body mean no endpoint (published)."""
        reply = self._send("GET", f"{scope}/endpoints", token, listed=True)
        if reply.status != 204:
            check_complete(reply)
        items = [] if reply.status == 204 else reply.document
        if not isinstance(items, list):
            raise Unavailable("the service did not return a list of endpoints", status=reply.status)
        found = [normalize_endpoint(self._field, one, scope) for one in items]
        if len({one["Name"] for one in found}) < len(found):
            raise Unavailable(
                "the service lists an endpoint twice", status=reply.status, next_step="Plan again."
            )
        self._listed[scope] = found
        return found

    def _send(
        self,
        method: str,
        path: str,
        token: SecretReference | None,
        body: Json = None,
        *,
        listed: bool = False,
        answers: Collection[int] = (),
    ) -> Reply:
        region, _, rest = path.removeprefix("/").partition("/")
        client = self._client(region)
        url = quote_path(f"/{rest}", "id of an endpoint")
        try:
            opened = self._open(token)
            return client.send(method, url, body, opened, listed=listed, answers=answers)
        except ServiceError as error:
            raise _explain(error, client.base_url, REGIONS.get(region, region)) from error

    def _now(self, resource: Resource) -> datetime:
        """Return the time of the service, because our clock may differ."""
        return self._client(resource.id.split("/")[1]).now()

    def _open(self, token: SecretReference | None) -> str:
        if token is not None:
            cure = "Store only the token there, without spaces and line ends."
            return check_sendable(self._access.resolve(token), "the workspace's", str(token), cure)
        if is_loopback(self._base):
            return ""
        raise Unauthorized(
            "the workspace token is not set",
            next_step="Set spec.resource: {token: {env: NAME}}, or the same in spec.defaults of the"
            " project file. Studio shows the token under Settings, Authorization Tokens.",
        )

    def _client(self, region: str) -> Client:
        """Return the client of a region's host; a base URL that is not Azure's serves all."""
        host = urlsplit(self._base).hostname or ""
        served = SERVED.get(host, region)
        own = host != HOSTS["southcentralus"]
        if own and served != region:
            raise Rejected(
                f"spec.cloud.studioManagement is the host of {REGIONS[served]}, and the region is"
                f" {REGIONS.get(region, region)}",
                next_step=f"Set spec.resource.region or spec.defaults.region to {REGIONS[served]},"
                " or remove studioManagement: each region then has its own host.",
            )
        base = self._base if own or region not in HOSTS else f"https://{HOSTS[region]}"
        with self._lock:
            if base not in self._clients:
                access = self._access
                self._clients[base] = Client(
                    base,
                    access.emit,
                    access.rate_limiter,
                    redaction=access.redaction,
                    local_token=access.cloud.token,
                )
            return self._clients[base]


def _make_resources(step: Step, resolve: ResolveSecret, now: datetime) -> Iterator[Json]:
    """Yield every declared model: a PATCH of only one model might change the others."""
    secrets = dict(step.secrets)
    for path in map(split_pointer, step.owned_paths):
        uri = find(step.after, path)
        if path[:1] == ("Resources",) and path[-1] == "Location" and isinstance(uri, str):
            name = path[1]
            base = _find_account(uri, name)
            reference = secrets.get(format_pointer((*path[:2], "SasBlobToken")))
            if reference is None:
                said, cure = "no signature is given", "Add a signature: sas: {env: NAME}"
                raise BlobForbidden(said, subject=f'trained model "{name}"', next_step=cure)
            subject = f'trained model "{name}"'
            signature = read_signature(resolve(reference), str(reference), subject)
            check_validity(signature, subject, now)
            where = {"BaseLocation": f"{base}/", "RelativeLocation": uri[len(base) :].lstrip("/")}
            yield {"Name": name, "Location": {**where, "SasBlobToken": f"?{signature}"}}


def _find_account(uri: str, name: str) -> str:
    """Return the part of a model's address before its container; raises ReconcilerError."""
    try:
        return split_address(uri).account_url
    except ValueError as error:
        raise ReconcilerError(
            f"its address is not {error}",
            subject=f'trained model "{name}"',
            next_step="Nothing was sent. Correct the address, then plan again.",
        ) from error


def _explain(error: ServiceError, host: str, region: str) -> ServiceError:
    """Add the next step to a refusal.

    Classic answers a wrong token and a wrong region with the same message.
    """
    said = {
        401: _OPENS,
        403: _OPENS,
        404: "Check spec.resource.workspace and webService, and that the web service exists.",
    }.get(error.status)
    if said is not None:
        elsewhere = f"The call went to {host} for {region}; spec.resource.region sets the region."
        error.next_step = f"{said} {elsewhere}"
    return error
