"""Finds what each deployment of an online endpoint serves, and by which signs it is known.

The signs are the id in its document, the directory that the service has mounted, the deployment
that answers, and its answers. The provider calls this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.document.pointers import find
from reconciler.errors import CheckFailed, ServiceError
from reconciler.kinds.online_endpoint.addresses import compare_id, parse_id
from reconciler.kinds.online_endpoint.probes import Attempt, EndpointProbes, ProbeFault, ProbeSample
from reconciler.kinds.online_endpoint.shares import TRAFFIC as LIVE_TRAFFIC
from reconciler.kinds.online_endpoint.shares import read_shares
from reconciler.model import Json, Manifest, Resource
from reconciler.plans.probes import count_calls
from reconciler.plans.proof import (
    ANSWER,
    DEPLOYMENT,
    MODEL_ID,
    MOUNTED,
    TRAFFIC,
    ServedDeployment,
    Serving,
    ServingSign,
    SignState,
)
from reconciler.text.counting import count

_NO_SAMPLE: Final = "the manifest declares no spec.rollout.probe.request"
_NO_ANSWER: Final = "the manifest declares no spec.rollout.probe.expect"
_OTHERS: Final = "the declared answer is that of the declared deployments with traffic"
_SUCCEEDED: Final = "Succeeded"
_PROPERTIES: Final = "properties"
_VARIABLE: Final = "AZUREML_MODEL_DIR"


def show_serving(
    probes: EndpointProbes, resource: Resource, document: Json, manifest: Manifest
) -> Serving:
    """Returns what the deployments of a live document serve; asks each of them once.

    What cannot be asked is an unknown sign and not an error.
    """
    shares = read_shares(document, LIVE_TRAFFIC)
    declared = manifest.spec.get("deployments", {})
    questions = _Questions(probes, resource, manifest, shares)
    shown = find(document, ("deployments",))
    deployments = []
    for name, one in sorted(shown.items()) if isinstance(shown, dict) else ():
        uri = find(one, (_PROPERTIES, "model"))
        signs = [
            _compare_id(one, declared.get(name)),
            _compare_directory(one),
            *questions.ask(name),
        ]
        shown_uri = uri if isinstance(uri, str) else ""
        deployments.append(ServedDeployment(name, shares.get(name, 0), shown_uri, (*signs,)))
    return Serving((*deployments,), questions.measure())


def _compare_id(deployment: Json, declared: Json) -> ServingSign:
    """Compares the model of a deployment with that of the manifest."""
    uri = find(deployment, (_PROPERTIES, "model"))
    state = find(deployment, (_PROPERTIES, "provisioningState"))
    if not isinstance(uri, str):
        return _unknown(MODEL_ID, "the document names no model")
    if state != _SUCCEEDED:
        return _unknown(MODEL_ID, f"the document names {uri}, and its state is {state}")
    wanted = declared.get("model") if isinstance(declared, dict) else None
    if wanted is None:
        said = f"the document names {uri}, and the manifest no model of it"
        return ServingSign(MODEL_ID, SignState.SHOWN, said)
    if compare_id(uri) == compare_id(wanted):
        return ServingSign(MODEL_ID, SignState.AGREES, f"the document names {uri}")
    said = f"the document names {uri}, and the manifest {wanted}"
    return ServingSign(MODEL_ID, SignState.DIFFERS, said)


def _compare_directory(deployment: Json) -> ServingSign:
    """Compares the mounted directory of a deployment with the model of its document."""
    mounted = find(deployment, (_PROPERTIES, "environmentVariables", _VARIABLE))
    asset = parse_id(find(deployment, (_PROPERTIES, "model")))
    if not isinstance(mounted, str) or asset is None:
        return _unknown(MOUNTED, f"the service shows no {_VARIABLE}")
    agrees = mounted.rstrip("/").casefold().endswith(f"/{asset.name}/{asset.version}".casefold())
    state = SignState.AGREES if agrees else SignState.DIFFERS
    return ServingSign(MOUNTED, state, f"the service has mounted {mounted}")


def check_directory(resource: Resource, document: Json, name: str) -> None:
    """Raises CheckFailed if the service has mounted another model than a deployment names."""
    deployment = find(document, ("deployments", name))
    sign = _compare_directory(deployment)
    if sign.state is SignState.DIFFERS:
        uri = find(deployment, (_PROPERTIES, "model"))
        raise CheckFailed(
            f"{name} does not serve {uri}: {sign.said}",
            subject=str(resource.address),
            next_step=f"Declare a deployment of another name in the place of {name}.",
        )


class _Questions:
    """The calls to one endpoint with the sample of its manifest, if it declares one."""

    def __init__(
        self,
        probes: EndpointProbes,
        resource: Resource,
        manifest: Manifest,
        shares: Mapping[str, int],
    ) -> None:
        self._shares = shares
        deployments = manifest.spec.get("deployments", {})
        # The expected answer is that of one model, which serves where the manifest says so.
        self._expects = {name for name in deployments if shares.get(name)}
        models = {compare_id(deployments[name].get("model")) for name in self._expects}
        self._has_one_model = len(models) == 1
        self._declared = (
            read_shares(manifest.spec, ("traffic",)) if "traffic" in manifest.spec else None
        )
        self._sample: ProbeSample | None = None
        self._why = _NO_SAMPLE
        try:
            self._sample = probes.open_sample(resource, manifest)
        except ServiceError as error:
            self._why = error.message

    def ask(self, name: str) -> Iterator[ServingSign]:
        """Asks a deployment by its name; yields the signs of who answered, and how."""
        if self._sample is None:
            yield _unknown(DEPLOYMENT, self._why)
            yield _unknown(ANSWER, self._why)
            return
        compares = name in self._expects
        found = _end(self._sample.probe(name, self._sample.count, compares=compares))
        number = self._sample.count
        if isinstance(found, ProbeFault) and not found.is_answer:
            yield _unknown(DEPLOYMENT, found.message)
            yield _unknown(ANSWER, "the deployment did not answer all calls")
            return
        yield ServingSign(DEPLOYMENT, SignState.AGREES, _count_answers(name, number, found))
        if not self._sample.expects:
            yield _unknown(ANSWER, _NO_ANSWER)
        elif not compares:
            yield _unknown(ANSWER, _OTHERS)
        elif not isinstance(found, ProbeFault):
            yield ServingSign(ANSWER, SignState.AGREES, found)
        elif self._has_one_model:
            yield ServingSign(ANSWER, SignState.DIFFERS, found.message)
        else:
            yield _unknown(ANSWER, "several models have traffic, and one answer is declared")

    def measure(self) -> ServingSign:
        """Asks the endpoint; returns whether those answer that have the declared traffic."""
        if self._sample is None:
            return _unknown(TRAFFIC, self._why)
        wanted = self._shares if self._declared is None else self._declared
        found = _end(self._sample.measure(wanted, count_calls(wanted, wanted)))
        if not isinstance(found, ProbeFault):
            return ServingSign(TRAFFIC, SignState.AGREES, found)
        if found.error is not None or found.status:
            return _unknown(TRAFFIC, found.message)
        return ServingSign(TRAFFIC, SignState.DIFFERS, found.message)


def _count_answers(name: str, number: int, found: str | ProbeFault) -> str:
    """Returns how many calls a deployment answered; a wrong answer ends the calls."""
    if isinstance(found, ProbeFault):
        return f"{name} answered the calls to it until one was wrong"
    return f"{name} answered {number} of {count(number, 'call')} to it"


def _end(attempt: Attempt) -> str | ProbeFault:
    """Makes one attempt to its end; returns its result."""
    while True:
        try:
            next(attempt)
        except StopIteration as ended:
            found: str | ProbeFault = ended.value
            return found


def _unknown(source: str, why: str) -> ServingSign:
    return ServingSign(source, SignState.UNKNOWN, why)
