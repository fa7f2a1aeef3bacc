"""Reads the request of a batch job, and refuses it as the published table of error codes says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.replies import Refusal, refuse
from reconciler.emulator.training.blob_references import BlobReference, read_reference
from reconciler.emulator.training.graph import Training

Json = Any
# The parameter with the address of the data, for a service that reads its data itself.
ADDRESS: Final = "URI"


@dataclass(frozen=True)
class BatchRequest:
    """The blobs of a request by port, and its parameters."""

    inputs: Mapping[str, BlobReference]
    outputs: Mapping[str, BlobReference]
    parameters: Mapping[str, Json]


def read_request(body: Json, training: Training, blob_url: str) -> BatchRequest:
    """Return what a request asks for; refuse it as the published table of error codes says."""
    if not isinstance(body, dict):
        raise _refuse_body()
    inputs = _read_inputs(body, training)
    outputs = body.get("Outputs") or {}
    parameters = body.get("GlobalParameters") or {}
    if not isinstance(outputs, dict) or not isinstance(parameters, dict):
        raise _refuse_body()
    for port, given in outputs.items():
        _check_output(port, given, training)
    _check_parameters(parameters, training)
    return BatchRequest(
        {port: read_reference(given, "data", blob_url) for port, given in inputs.items()},
        {
            port: read_reference(given, training.outputs[port], blob_url)
            for port, given in outputs.items()
        },
        parameters,
    )


def _refuse_body() -> Refusal:
    message = "No request body provided or error in deserializing the request body."
    return refuse("BadArgument", "RequestBodyInvalid", message)


def _check_output(port: str, given: Json, training: Training) -> None:
    """Refuse an output that the service does not have, and one without a place."""
    if port not in training.outputs:
        message = (
            f"Invalid output override name: {port[:60]}. The service does not have an output"
            " node with this name. Please pass in a correct output node name to override (case"
            " sensitivity applies)."
        )
        raise refuse("BadArgument", "InvalidOutputOverrideName", message)
    if not given:
        message = (
            f"The request is missing the blob specification for output override {port[:60]}."
            " Please specify a valid blob location with the request, or remove the output"
            " specification if no location override is desired."
        )
        raise refuse("BadArgument", "MissingOutputOverrideSpecification", message)


def _check_parameters(parameters: Mapping[str, Json], training: Training) -> None:
    """Refuse a parameter that the service does not have, and a missing address of the data."""
    if any(name not in {*training.parameters, ADDRESS} for name in parameters):
        message = (
            "Unexpected parameters provided. Verify all parameter names are spelled correctly, only"
            " expected parameters are passed, and try again."
        )
        raise refuse("BadArgument", "UnexpectedParameter", message)
    if not training.data and ADDRESS not in parameters:
        message = (
            "Not all required web service parameter(s) provided. Verify the parameter(s) expected"
            " for the module(s) are correct and try again."
        )
        raise refuse("BadArgument", "MissingRequiredGlobalParameters", message)


def _read_inputs(body: Mapping[str, Json], training: Training) -> Mapping[str, Json]:
    """Return the inputs by port; a single `Input` is that of a service with one port."""
    single, inputs = body.get("Input"), body.get("Inputs")
    if single and inputs:
        message = (
            "The batch request is invalid. Cannot specify both single and multiple input at the"
            " same time. Remove one of these items from the request and try again."
        )
        raise refuse("BadArgument", "DuplicateInputInBatchCall", message)
    if single:
        inputs = dict.fromkeys(training.inputs[:1], single)
    inputs = inputs if isinstance(inputs, dict) else {}
    accepted = ", ".join(training.inputs)
    if len(inputs) > len(training.inputs):
        message = (
            "The request specified more inputs than defined in the service. List of accepted"
            f" input(s): {accepted}. Please ensure all input data is specified correctly and try"
            " again."
        )
        raise refuse("BadArgument", "BatchJobInputsTooManySpecified", message)
    wrong = [port for port in inputs if port not in training.inputs]
    if wrong:
        message = (
            f"Invalid service input name(s) specified in the request: {', '.join(wrong)[:200]}."
            " Please map the input data to the correct service inputs and try again."
        )
        raise refuse("BadArgument", "InvalidInputNames", message)
    missing = [port for port in training.inputs if port not in inputs]
    if missing:
        message = (
            "The following required input(s) were not specified with the request:"
            f" {', '.join(missing)}. Please ensure all input data is specified and try again."
        )
        raise refuse("BadArgument", "BatchJobInputsNotSpecified", message)
    return inputs
