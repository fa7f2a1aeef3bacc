"""The switches: one for each behaviour of the service that is not known, with its values.

The default is the value that is hardest for a client. The command lists the switches, and the
parts of the emulator read them through Choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch. The first of `values` is the default; empty `values` allow any whole number."""

    name: str
    values: tuple[str, ...]
    meaning: str
    default_number: int = 0

    @property
    def default(self) -> str:
        """Return the value that applies if the user sets none."""
        return self.values[0] if self.values else str(self.default_number)


_LOCATIONS: Final = ("hidden", "without-signature", "whole")
_DEFAULT_PATCHES: Final = ("reject", "reject-model", "ignore", "accept")
_URI_CHANGES: Final = ("reject", "ignore", "accept")
SWITCHES: Final = (
    Switch("patch-assets", ("replace", "merge"), "the assets map of a PATCH"),
    Switch("patch-tags", ("replace", "merge"), "the tags of a PATCH"),
    Switch("null-in-patch", ("reject", "delete", "ignore"), "null values in a PATCH"),
    Switch("put-existing-reply", ("stub", "definition"), "the body of a PUT over a service"),
    Switch("put-keys", ("generate", "keep"), "keys that a PUT over a service leaves out"),
    Switch("put-demands", ("all", "package-type"), "what a PUT must contain"),
    Switch("workspace-demanded", ("no", "yes"), "whether a PUT must name the workspace"),
    Switch("put-fills", ("settings", "recorded", "documented"), "what GET shows that no PUT set"),
    Switch("preview-parameters", ("bare", "wrapped"), "what 2017-01-01 shows of a preview's write"),
    Switch("commitment-plan", ("trust", "check"), "whether a service's plan must exist"),
    Switch("commitment-plan-change", ("reject", "ignore"), "a write with another commitment plan"),
    Switch("get-while-provisioning", ("old", "new", "stub"), "GET while an operation runs"),
    Switch("write-while-provisioning", ("conflict", "accept"), "a write while another runs"),
    Switch("read-only-status", ("400", "403", "409"), "a write to a read-only service"),
    Switch("model-uri", ("trust", "check"), "whether a model's blob must exist"),
    Switch("credentials-returned", ("no", "yes"), "whether GET shows locationInfo.credentials"),
    Switch("commitment-plan-returned", ("no", "yes"), "whether GET shows commitmentPlan"),
    Switch("plain-credentials", ("seal", "keep"), "a Credential parameter sent as plain text"),
    Switch("foreign-seal", ("reject", "accept"), "a value sealed for another region"),
    Switch("status-field", ("status", "provisioningState"), "the name of an operation's status"),
    Switch("failed-operation", ("errorInfo", "error"), "the name of a failed operation's error"),
    Switch("percent-at-end", ("less", "one"), "percentComplete of an operation that has ended"),
    Switch("operation-after-end", ("kept", "gone"), "an operation after a reply showed its end"),
    Switch("operation-results", ("204", "200"), "operationresults after the operation has ended"),
    Switch("job-status", ("word", "number"), "the StatusCode of a job"),
    Switch("throttle-body", ("error", "empty"), "the body of a 429"),
    Switch("classic-resource-location", _LOCATIONS, "a model's location in GET of an endpoint"),
    Switch("classic-delayed", ("all", "model"), "what a PATCH or refresh changes with a delay"),
    Switch("classic-put-existing", ("reject", "replace"), "PUT of an endpoint that exists"),
    Switch("classic-put-status", ("201", "200", "202", "204"), "the status of an accepted PUT"),
    Switch("classic-patch-status", ("204", "200", "202"), "the status of an accepted PATCH"),
    Switch("classic-delete-status", ("204", "200", "202"), "the status of an accepted DELETE"),
    Switch("classic-refresh-status", ("204", "200", "202"), "the status of an accepted refresh"),
    Switch("classic-write-body", ("empty", "endpoint"), "the body of a PUT or PATCH, unless 204"),
    Switch("classic-refused-patch-status", ("400", "403", "404"), "the status of a refused PATCH"),
    Switch("classic-refused-patch-body", ("error", "empty"), "the body of a refused PATCH"),
    Switch("classic-patch-default", _DEFAULT_PATCHES, "a PATCH of the default endpoint"),
    Switch("classic-prevent-update", ("reject", "not-modified"), "refresh despite PreventUpdate"),
    Switch("classic-low-calls", ("reject", "cap"), "more than 4 calls with ThrottleLevel Low"),
    Switch("classic-unknown-fields", ("reject", "ignore"), "unknown fields of a write"),
    Switch("classic-missing-endpoint", ("404", "204"), "GET of a missing endpoint"),
    Switch("classic-error-details", ("yes", "no"), "whether Classic's errors have details"),
    Switch("classic-endpoint-count", ("no", "yes"), "whether web services show EndpointCount"),
    Switch("classic-model", ("check", "trust"), "whether a model in this blob storage must exist"),
    Switch("plan-sku", ("check", "trust"), "a plan's SKU that is missing or was never recorded"),
    Switch("plan-amount", ("zero", "allowance"), "the quantities that a new plan has left"),
    Switch("plan-etag", ("check", "ignore"), "an old etag in a write of a commitment plan"),
    Switch("plan-in-use", ("reject", "accept"), "DELETE of a plan that services use"),
    Switch("plan-delete-missing", ("204", "404", "200"), "DELETE of a missing commitment plan"),
    Switch("list-page-size", (), "items on a page of a list", default_number=1000),
    Switch("online-references", ("trust", "check"), "whether a deployment's assets must exist"),
    Switch(
        "online-deleted-version", ("reject", "accept"), "a version of an asset that was deleted"
    ),
    Switch("online-model-address", _URI_CHANGES, "another modelUri of a version that exists"),
    Switch("online-missing-blob", ("fail", "trust"), "a deployment whose model's blob is missing"),
    Switch("online-answer", ("list", "text"), "a score: a JSON list, or a text that holds one"),
    Switch("online-unknown-deployment", ("404", "traffic"), "a scoring call of a name unknown"),
    Switch("online-present-key", ("new", "keep"), "regenerateKeys with the present value"),
    Switch(
        "online-page-size",
        (),
        "items on a page of online endpoints, deployments and models",
        default_number=30,
    ),
    Switch(
        "online-quota",
        (),
        "cores of one machine family that a region may use",
        default_number=10_000,
    ),
    Switch(
        "online-most-endpoints", (), "online endpoints that a region may have", default_number=100
    ),
    Switch("online-most-deployments", (), "deployments that a region may have", default_number=500),
    Switch(
        "online-deployment-refill",
        (),
        "seconds until one more PUT of a deployment is allowed",
        default_number=12,
    ),
    Switch(
        "online-busy-status",
        ("409", "400"),
        "the status of a write while an operation runs on the endpoint",
    ),
    Switch(
        "online-refusal-status",
        ("400", "409", "422"),
        "the status of a write that breaks a rule, such as that of traffic",
    ),
    Switch(
        "online-operation-body",
        ("2025", "2022"),
        "the form of an operation's status: since 2025, or of 2022",
    ),
    Switch(
        "online-failed-operation",
        ("error", "bare"),
        "whether the status of a failed operation has its error",
    ),
    Switch(
        "online-delete-results",
        ("204", "200", "404"),
        "the status of the results of a DELETE after its end",
    ),
    Switch(
        "online-delete-body",
        ("null", "empty"),
        "the body of an accepted DELETE: the text null, or nothing",
    ),
    Switch(
        "online-unsigned-operation",
        ("refuse", "answer"),
        "GET of an operation whose address has no signature",
    ),
    Switch(
        "online-put-without-traffic",
        ("clear", "keep"),
        "the traffic after a PUT that leaves it out",
    ),
    Switch(
        "online-put-reply",
        ("2024", "2022"),
        "the body of the reply to a PUT: since 2024, or of 2022",
    ),
    Switch(
        "online-patch-tags",
        ("replace", "merge"),
        "the tags after a PATCH of an endpoint or a deployment",
    ),
    Switch(
        "online-endpoint-change",
        ("reject", "accept"),
        "a PUT of an endpoint with another authMode or identity",
    ),
    Switch(
        "online-deployment-change",
        ("reject", "accept"),
        "a PUT of a deployment with other machines or code",
    ),
    Switch(
        "online-server-variables",
        ("shown", "hidden"),
        "the environment variables that the service adds",
    ),
    Switch(
        "online-stale-variables",
        ("keep", "replace"),
        "the same variables where a PUT sends them back",
    ),
    Switch(
        "online-failed-update",
        ("nothing", "old"),
        "what answers after the update of a deployment failed",
    ),
    Switch(
        "online-failed-endpoint",
        ("delete", "repair"),
        "how an endpoint is mended whose creation failed",
    ),
    Switch(
        "online-get-while-creating", ("echo", "404"), "GET of a deployment that is being created"
    ),
    Switch(
        "online-last-modified",
        ("kept", "moved"),
        "lastModifiedAt after a write of an endpoint or a deployment",
    ),
    Switch(
        "online-capacity-stamp",
        ("old", "new"),
        "the operation that GET names after a PATCH of the capacity",
    ),
    Switch(
        "online-name-release",
        ("kept", "free"),
        "the name of a deleted endpoint, for another workspace",
    ),
)


class Choices:
    """The values of all switches. Raises ValueError for an unknown name or value."""

    def __init__(self, chosen: Mapping[str, str]) -> None:
        known = {switch.name: switch for switch in SWITCHES}
        for name, value in chosen.items():
            if name not in known:
                raise ValueError(f"unknown switch {name}")
            values = known[name].values
            if value not in values and (values or not value.isdecimal() or int(value) < 1):
                raise ValueError(f"{name} must be {' or '.join(values) or 'a whole number from 1'}")
        self._chosen = {name: chosen.get(name, switch.default) for name, switch in known.items()}

    def __getitem__(self, name: str) -> str:
        return self._chosen[name]
