"""Reads the replies about online endpoints: one document for each, and errors with a next step.

An endpoint and its deployments are resources of their own in Resource Manager. A document of the
engine is the endpoint's, with its deployments by name. The provider calls this module. It sends no
call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final, TypeVar

from reconciler.document.normalize import find_secrets, normalize
from reconciler.document.pointers import find
from reconciler.document.schema import Field
from reconciler.errors import (
    Busy,
    OperationFailed,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    Unavailable,
)
from reconciler.kinds.online_endpoint.addresses import shorten_ids
from reconciler.kinds.online_endpoint.bind import HIDDEN, VARIABLES, list_secret_variables
from reconciler.model import Json, Resource
from reconciler.model.values import dataclass
from reconciler.secrets.redaction import Redaction
from reconciler.transport import clean, is_unsettled

_Error = TypeVar("_Error", bound=ServiceError)

DEPLOYMENTS: Final = "deployments"
# The innermost codes that say that the endpoint, or the deployment, itself does not exist. A
# missing workspace or resource group has other codes, and is a 404 too.
NO_ENDPOINT: Final = "NoSuchEndpoint"
NO_DEPLOYMENT: Final = "NoSuchDeployment"
_TRAFFIC: Final = ("traffic", "mirrorTraffic")
_ENDPOINTS: Final = "microsoft.machinelearningservices/workspaces/onlineendpoints"
_OPERATION: Final = "AzureAsyncOperationUri"
# What the service itself writes among the properties of people.
SERVER_PROPERTIES: Final = frozenset({_OPERATION, "azureml.onlineendpointid"})
# The last guid of an operation's address. What follows it depends on who reads.
_GUID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f-])", re.IGNORECASE
)
# A status for it is not published, so its words decide.
_STATE: Final = re.compile(r"\bin (?:the )?[\"']?(\w+)[\"']? provisioning state", re.IGNORECASE)
# The state is that of a deployment, and not that of the endpoint that it may be named with.
_OF_DEPLOYMENT: Final = re.compile(r"\bdeployment [\"']?[\w-]+[\"']? is in\b", re.IGNORECASE)
_ENDED: Final = frozenset({"succeeded", "failed", "canceled"})
_TAKEN: Final = re.compile(
    r"\b(?:already (?:exists|in use|taken|used)|not (?:available|unique)|must be unique)\b",
    re.IGNORECASE,
)
_QUOTA: Final = re.compile(r"\bnot enough quota\b|\bquota exceeded\b", re.IGNORECASE)
_CANCELED: Final = "operationcanceled"
_CANCELED_WORD: Final = "the operation cancel"
_FREE: Final = (
    "Free cores of this family, ask for more, or declare another instance_type or a lower"
    " instance_count. The service reserves 20 % more instances than declared for upgrades, and the"
    " old and the new deployment run at the same time."
)
# The words of the service's page on troubleshooting.
_ADVICE: Final[Mapping[str, str]] = {
    "OutOfQuota": _FREE,
    "BadArgument": "Correct what it names: the container, its environment or its scoring script.",
    "ResourceNotReady": "Read the log of the deployment: its container does not start or answer.",
    "ResourceNotFound": "Check that the model, the environment and the registry that it names"
    " exist, and that the endpoint's identity may read them.",
    "ImageBuildFailure": "Build its environment alone, and correct it.",
    "WorkspaceManagedNetworkNotReady": "Provision the managed network of the workspace first.",
    "SecretsInjectionError": "Check the secrets that its environment variables refer to, and the"
    " rights of the endpoint's identity.",
    "InternalServerError": "If it persists, quote the request id to the support.",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the service shows of one endpoint: the raw documents of it and its deployments.

    It may hold secrets, so it is never recorded or shown.
    """

    endpoint: Json = field(repr=False)
    deployments: Mapping[str, Json] = field(repr=False)

    @property
    def raw(self) -> Json:
        """One document of all, unchanged."""
        return {**self.endpoint, DEPLOYMENTS: dict(self.deployments)}

    @property
    def stamp(self) -> str:
        """The operations that have changed it last, as guids; "" unless all are known.

        Every PUT and PATCH makes another one (recorded). The times of change that the service
        shows do not move with each change (recorded).
        """
        guids = {"": _read_guid(self.endpoint)}
        guids |= {name: _read_guid(one) for name, one in self.deployments.items()}
        return " ".join(f"{name}:{guids[name]}" for name in sorted(guids)) * all(guids.values())

    @property
    def running(self) -> str:
        """What has an operation that runs now, such as "deployment green (Updating)"; "" if none.

        The service accepts one operation for an endpoint and all its deployments at a time.
        """
        named = {"the endpoint": self.endpoint}
        named |= {f"deployment {clean(name)}": one for name, one in self.deployments.items()}
        found = [one for one in named.items() if is_unsettled(one[1])]
        return ", ".join(f"{what} ({clean(read_state(one))})" for what, one in found)

    @property
    def unlisted(self) -> Sequence[str]:
        """The deployments that have traffic although the list of deployments lacks them."""
        listed = {name.casefold() for name in self.deployments}
        shares = [self.endpoint["properties"].get(word) for word in _TRAFFIC]
        named = {
            name: share for one in shares if isinstance(one, dict) for name, share in one.items()
        }
        return sorted(
            name for name, share in named.items() if share and name.casefold() not in listed
        )

    def make_document(self, field_: Field, workspace: str, redaction: Redaction) -> Json:
        """The document without secrets; `redaction` learns each secret first.

        The address of an operation is left out: it may be signed.
        """
        hidden = {n: list_secret_variables(field_, one) for n, one in self.deployments.items()}
        redaction.know(*find_secrets(field_, self.raw))
        for name, variables in hidden.items():
            values = (find(self.deployments[name], (*VARIABLES, one)) for one in variables)
            redaction.know(*(one for one in values if isinstance(one, str)))
        parts = {n: _without_variables(one, hidden[n]) for n, one in self.deployments.items()}
        raw = {**self.endpoint, DEPLOYMENTS: parts}
        try:
            redacted = redaction.redact_document(raw)
        except ValueError:  # not chained: a secret is a name
            raise Unavailable(
                "the service answers with a secret as the name of a property",
                status=200,
                next_step="Replace the secret, and correct what it names.",
            ) from None
        shown = normalize(field_, redacted)
        parts = {name: _without_operation(one) for name, one in shown[DEPLOYMENTS].items()}
        short = {name: shorten_ids(one, workspace) for name, one in parts.items()}
        for name, variables in hidden.items():
            if variables:
                short[name] = {**short[name], HIDDEN: variables}
        return {**_without_operation(shown), DEPLOYMENTS: short}


def read_endpoint(raw: Json, scope: str) -> Json:
    """Return the raw document of an endpoint of a workspace; raises Unavailable for any other."""
    found = raw.get("id") if isinstance(raw, dict) else None
    if not isinstance(found, str) or not isinstance(raw.get("properties"), dict):
        raise Unavailable("the service did not return an endpoint", status=200)
    above, _, name = found.rstrip("/").rpartition("/")
    if not name or above.casefold() != f"{scope}/onlineEndpoints".casefold():
        raise make_foreign(f"the service answers with what is not in {scope}: {clean(found)}")
    _check_names(raw, name, _ENDPOINTS)
    return raw


def read_deployment(raw: Json, endpoint_id: str) -> tuple[str, Json]:
    """Return the name and the raw document of an endpoint's deployment, as `read_endpoint` does.

    The name is in lower case, as manifests and `az ml` write it: the service ignores its case.
    """
    found = raw.get("id") if isinstance(raw, dict) else None
    if not isinstance(found, str) or not isinstance(raw.get("properties"), dict):
        raise Unavailable("the service did not return a deployment", status=200)
    above, _, name = found.rstrip("/").rpartition("/")
    if not name or above.casefold() != f"{endpoint_id}/deployments".casefold():
        said = f"the service answers with a deployment of another endpoint, {clean(found)}"
        raise make_foreign(said)
    _check_names(raw, name, f"{_ENDPOINTS}/deployments")
    shown = raw.get("name")
    return (shown if isinstance(shown, str) else name).lower(), raw


def read_traffic(raw: Json) -> Json:
    """Return the raw document of an endpoint; its traffic has names in lower case, whole numbers.

    Raises Unavailable for traffic that cannot be read: a deployment that answers would count as one
    without calls.
    """
    properties = dict(raw["properties"])
    for word in _TRAFFIC:
        given = properties.get(word)
        if given is None:
            continue
        if not isinstance(given, dict):
            raise make_foreign("the service shows no map of deployments as its traffic")
        read: dict[str, Json] = {}
        for shown, share in given.items():
            name = str(shown).lower()
            if name in read:
                raise make_foreign(f"the service shows the traffic of {clean(name)} twice")
            read[name] = _read_share(name, share)
        properties[word] = read
    return {**raw, "properties": properties}


def _read_share(name: str, share: Json) -> int:
    number = share if isinstance(share, (int, float)) and not isinstance(share, bool) else -1
    if number not in range(101):
        said = f"{clean(json.dumps(share))} as the traffic of {clean(name)}"
        raise make_foreign(f"the service shows {said}, and it must be a whole number up to 100")
    return int(number)


def _check_names(raw: Json, name: str, kind: str) -> None:
    """Raise Unavailable if the name or the type is not that of the id; either may be missing."""
    for word, wanted in (("name", name), ("type", kind)):
        shown = raw.get(word)
        if shown is not None and (
            not isinstance(shown, str) or shown.casefold() != wanted.casefold()
        ):
            said = f"the service answers with an id and another {word}, {clean(str(shown))}"
            raise make_foreign(said)


def make_foreign(message: str) -> Unavailable:
    """Return the error for an answer that is about another resource, or about none."""
    return Unavailable(
        message,
        status=200,
        next_step="Nothing is concluded from it. Check what answers at spec.cloud's address.",
    )


def read_state(document: Json) -> str:
    """Return the provisioning state that a resource shows; "" without one."""
    properties = document.get("properties") if isinstance(document, dict) else None
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    return state if isinstance(state, str) else ""


def is_absence(error: ServiceError, *codes: str) -> bool:
    """Whether a refusal says that the resource itself does not exist."""
    return error.status == 404 and error.code in codes


def explain(error: ReconcilerError, resource: Resource, deployment: str = "") -> ReconcilerError:
    """Return the error with its subject and a next step; a refusal of a busy endpoint is Busy."""
    if isinstance(error, ServiceError):
        named = f"deployment {deployment}: {error.message}" if deployment else error.message
        error = _copy(_classify(error), error, named)
        error.next_step = _advise(error, resource) or error.next_step
    error.subject = error.subject or str(resource.address)
    return error


def _classify(error: ServiceError) -> type[ServiceError]:
    """Return the class of an error: a refusal is Busy by its words, whatever its status is."""
    if type(error) not in {Rejected, Busy}:
        return type(error)
    state = _read_named_state(error)
    if state:
        return Rejected if state in _ENDED else Busy
    return Rejected if _TAKEN.search(error.message) else type(error)


def _read_named_state(error: ServiceError) -> str:
    """Return the state for which a write is refused, in lower case; "" if no state is named."""
    found = _STATE.search(error.message)
    return found[1].lower() if found else ""


def _advise(error: ServiceError, resource: Resource) -> str:
    if _QUOTA.search(error.message):
        return _FREE
    if _read_named_state(error) in _ENDED:
        return _advise_on_failed(error, resource)
    if error.status == 404 and not error.next_step:
        scope = resource.id.rpartition("/onlineEndpoints/")[0]
        return f"Check the subscription, the resource group and the workspace: {scope}"
    if _TAKEN.search(error.message) and error.status in {400, 409}:
        return (
            "The name of an endpoint is unique in its region, over all workspaces and customers."
            " Choose another one: spec.resource: {name: NAME}."
        )
    return "" if isinstance(error, ReplyLost) else _ADVICE.get(error.code, "")


def _advise_on_failed(error: ServiceError, resource: Resource) -> str:
    """Return what to do about an endpoint or a deployment that is refused for its last state."""
    if _OF_DEPLOYMENT.search(error.message):
        return (
            "Plan again: a declared deployment that failed is sent again before it gets traffic."
            " To move all traffic away from one at once, leave spec.rollout.steps out."
        )
    return (
        "The operation on the endpoint itself failed. If none of its deployments answers yet,"
        f" delete it and apply again: az ml online-endpoint delete --name {resource.short_id}"
    )


def find_cancellation(error: OperationFailed) -> ReplyLost | None:
    """Return the error for an operation that another one displaced; None for any other failure.

    The service cancels one of two that came within a minute (documented). A read shows whether the
    write has to be sent again.
    """
    canceled = error.code.casefold() == _CANCELED or error.message.startswith(_CANCELED_WORD)
    if not canceled:
        return None
    lost = _copy(ReplyLost, error, error.message)
    lost.next_step = "Apply again in a minute."
    return lost


def _copy(kind: type[_Error], error: ServiceError, message: str) -> _Error:
    return kind(
        message,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        subject=error.subject,
        next_step=error.next_step,
    )


def _read_guid(document: Json) -> str:
    properties = document.get("properties") if isinstance(document, dict) else None
    below = properties.get("properties") if isinstance(properties, dict) else None
    address = below.get(_OPERATION) if isinstance(below, dict) else None
    found = _GUID.findall(address) if isinstance(address, str) and len(address) < 16_384 else []
    return found[-1].lower() if found else ""


def _without_variables(deployment: Json, names: Sequence[str]) -> Json:
    """Return a raw deployment without some of its variables."""
    if not names:
        return deployment
    properties = deployment["properties"]
    kept = {n: v for n, v in properties["environmentVariables"].items() if n not in names}
    return {**deployment, "properties": {**properties, "environmentVariables": kept}}


def _without_operation(document: Json) -> Json:
    properties = document.get("properties")
    below = properties.get("properties") if isinstance(properties, dict) else None
    if not isinstance(below, dict) or _OPERATION not in below:
        return document
    kept = {name: value for name, value in below.items() if name != _OPERATION}
    return {**document, "properties": {**properties, "properties": kept}}
