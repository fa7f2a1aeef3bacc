"""Whether a document is of the resource that was known before, and not of one created since.

An id can name a second resource after the first one was deleted. A service that shows the creation
time of a resource makes the two distinguishable.
"""

from __future__ import annotations

from typing import Final

from reconciler.document.pointers import find
from reconciler.document.schema import Field
from reconciler.model import Absent, Json

_LONGEST: Final = 64


def read_creation_time(field: Field, document: Json | Absent) -> str:
    """Return the creation time that a document shows, in its comparison form.

    The text is empty for a document without a usable one. `field` is the field of the document.
    """
    value = find(document, field.creation_time) if field.creation_time else None
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    comparer = field.at(field.creation_time).comparer
    return str(comparer(value)) if comparer is not None else value


def is_same_creation(field: Field, created: str, document: Json | Absent) -> bool:
    """Whether a document may be of the resource that was created at `created`.

    An empty creation time, on either side, is evidence of nothing.
    """
    shown = read_creation_time(field, document) if created else ""
    return not shown or shown == created
