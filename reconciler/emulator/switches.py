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
SWITCHES: Final = (
    Switch("patch-assets", ("replace", "merge"), "the assets map of a PATCH"),
    Switch("patch-tags", ("replace", "merge"), "the tags of a PATCH"),
    Switch("null-in-patch", ("reject", "delete", "ignore"), "null values in a PATCH"),
    Switch("put-existing-reply", ("stub", "definition"), "the body of a PUT over a service"),
    Switch("put-keys", ("generate", "keep"), "keys that a PUT over a service leaves out"),
    Switch("put-demands", ("all", "package-type"), "what a PUT must hold"),
    Switch("get-while-provisioning", ("old", "new", "stub"), "GET while an operation runs"),
    Switch("write-while-provisioning", ("conflict", "accept"), "a write while another runs"),
    Switch("read-only-status", ("400", "403", "409"), "the status that refuses a read-only write"),
    Switch("model-uri", ("trust", "check"), "whether a model's blob must be there"),
    Switch("credentials-returned", ("no", "yes"), "whether GET shows locationInfo.credentials"),
    Switch("commitment-plan-returned", ("no", "yes"), "whether GET shows commitmentPlan"),
    Switch("plain-credentials", ("seal", "keep"), "a Credential parameter sent in the clear"),
    Switch("foreign-seal", ("reject", "accept"), "a value sealed for another region"),
    Switch("status-field", ("status", "provisioningState"), "the name of an operation's status"),
    Switch("failed-operation", ("errorInfo", "error"), "where a failed operation says why"),
    Switch("operation-after-end", ("kept", "gone"), "an operation once its end was told"),
    Switch("operation-results", ("204", "200"), "operationresults once the operation has ended"),
    Switch("throttle-body", ("error", "empty"), "the body of a 429"),
    Switch("classic-resource-location", _LOCATIONS, "where a model lies, in GET of an endpoint"),
    Switch("classic-delayed", ("all", "model"), "what a PATCH or refresh changes with a delay"),
    Switch("classic-put-existing", ("reject", "replace"), "PUT of an endpoint that is there"),
    Switch("classic-put-status", ("201", "200", "202", "204"), "a PUT that is taken"),
    Switch("classic-patch-status", ("204", "200", "202"), "a PATCH that is taken"),
    Switch("classic-delete-status", ("204", "200", "202"), "a DELETE that is taken"),
    Switch("classic-refresh-status", ("204", "200", "202"), "a refresh that is taken"),
    Switch("classic-write-body", ("empty", "endpoint"), "what follows a PUT or PATCH, if not 204"),
    Switch("classic-refused-patch-status", ("400", "403", "404"), "a PATCH that is not taken"),
    Switch("classic-refused-patch-body", ("error", "empty"), "what follows such a PATCH"),
    Switch("classic-patch-default", _DEFAULT_PATCHES, "a PATCH of the default endpoint"),
    Switch("classic-prevent-update", ("reject", "not-modified"), "refresh despite PreventUpdate"),
    Switch("classic-low-calls", ("reject", "cap"), "more than 4 calls with ThrottleLevel Low"),
    Switch("classic-unknown-fields", ("reject", "ignore"), "fields of a write that nobody knows"),
    Switch("classic-missing-endpoint", ("404", "204"), "GET of an endpoint that is not there"),
    Switch("classic-endpoint-count", ("no", "yes"), "whether web services show EndpointCount"),
    Switch("classic-model", ("check", "trust"), "a model in this blob storage: must it be there"),
    Switch("list-page-size", (), "items on a page of a list", default_number=1000),
)


class Choices:
    """The values of all switches. Raises ValueError for an unknown name or value."""

    def __init__(self, chosen: Mapping[str, str]) -> None:
        known = {switch.name: switch for switch in SWITCHES}
        for name, value in chosen.items():
            if name not in known:
                raise ValueError(f"there is no switch {name}")
            values = known[name].values
            if value not in values and (values or not value.isdecimal() or int(value) < 1):
                raise ValueError(f"{name} is {' or '.join(values) or 'a whole number'}")
        self._chosen = {name: chosen.get(name, switch.default) for name, switch in known.items()}

    def __getitem__(self, name: str) -> str:
        return self._chosen[name]
