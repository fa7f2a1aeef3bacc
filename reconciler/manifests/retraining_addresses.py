"""Brings the addresses of a retraining to the one form that is compared and sent.

The addresses of blobs may contain `${run}`, which stays as it is. What no call can be sent to
is reported where it is written, before anything is uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from reconciler.document.forms import read_address
from reconciler.document.pointers import format_pointer
from reconciler.manifests.references import Found
from reconciler.model import Finding, Json

# A variable in an address that is in its form.
_ESCAPED: Final = re.compile(r"\$%7B([A-Za-z0-9_.-]*)%7D")
_BLOB_STEP: Final = "Write an address such as https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME."


def settle_addresses(spec: Json, outputs: Mapping[str, Json]) -> Iterator[Found]:
    """Brings the addresses of a spec to the form that is sent; yields those that are not ones.

    `outputs` are the outputs of the spec by their pointers.
    """
    inputs = ((f"/spec/inputs{format_pointer((port,))}", one) for port, one in _list_inputs(spec))
    for at, blob in (*inputs, *outputs.items()):
        try:
            blob["uri"] = _read_blob_address(blob["uri"])
        except ValueError as error:
            yield f"{at}/uri", Finding(f"uri {error}", next_step=_BLOB_STEP)
    service = spec["service"]
    if "url" in service:
        try:
            service["url"] = _read_service_address(service["url"])
        except ValueError as error:
            step = "Write an address such as https://HOST/workspaces/ID/services/ID."
            yield "/spec/service/url", Finding(f"url {error}", next_step=step)


def _list_inputs(spec: Json) -> Iterable[tuple[str, Json]]:
    return (spec.get("inputs") or {}).items()


def _read_blob_address(text: str) -> str:
    """Returns an address in its form, and its variables as they are written.

    The text of its ValueError continues the name of the field.
    """
    from reconciler.transport import split_address  # noqa: PLC0415 - few projects need it

    if "${" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("has a variable in its host")
    formed = _ESCAPED.sub(r"${\1}", read_address(text))
    try:
        name = split_address(formed).name
    except ValueError as error:
        raise ValueError(f"is not {error}") from None
    if not name:
        raise ValueError("is not that of a blob")
    return formed


def _read_service_address(text: str) -> str:
    """Returns an address in its form; the text of its ValueError continues the field's name."""
    from reconciler.transport import is_loopback  # noqa: PLC0415 - few projects need it

    formed = read_address(text)
    if formed.startswith("http:") and not is_loopback(formed):
        raise ValueError("is not https")
    return formed
