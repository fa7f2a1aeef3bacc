"""What the three forges share: parts of an answer, and calls whose refusal may be ignored."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import quote

from reconciler.errors import Rejected, Unavailable
from reconciler.model import Json
from reconciler.text.counting import count

# Our own statuses begin so, whatever they are about.
OWN_STATUSES: Final = "reconciler/"
# How often a forge is asked until it has computed whether a request can be merged.
MERGE_TRIES: Final = 6
AnyAccount = TypeVar("AnyAccount", int, str)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]+")


def get(document: Json, *names: str) -> Json:
    """A member of nested objects; None for a missing one."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def get_text(document: Json, *names: str) -> str:
    """A member of nested objects that is a text; "" for anything else."""
    found = get(document, *names)
    return found if isinstance(found, str) else ""


def get_number(document: Json, *names: str) -> int:
    """A member of nested objects that is an integer; 0 for anything else."""
    found = get(document, *names)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def escape_part(text: str) -> str:
    """A text as one part of an address, or as one value of its query."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def check_account(found: AnyAccount, forge: str) -> AnyAccount:
    """The account of the token; raises Unavailable if the forge does not say whose token it is."""
    if not found:
        raise Unavailable(
            f"{forge} does not say whose token this is, so no comment can be known as our own",
            next_step="Check the address of the API. Something else may be answering there.",
        )
    return found


def is_segment(text: str) -> bool:
    """Whether a text may be one part of an address, which names neither "." nor ".."."""
    return bool(_SEGMENT.fullmatch(text)) and set(text) != {"."}


def cut_description(text: str, most: int) -> str:
    """The description of a status without its middle, because its end holds the digest."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def ignore_missing(call: Callable[[], object]) -> None:
    """Make a call that deletes; what is gone already is not an error."""
    try:
        call()
    except Rejected as error:
        if error.status not in {404, 410}:
            raise


def pause_before(tried: int) -> float:
    """The seconds before a forge is asked again what it still computes."""
    return min(0.5 * float(2**tried), 8.0)


def name_behind(base: str, behind: int) -> str:
    """The reason why a request has diverged, in words."""
    return f"{base} has {count(behind, 'commit')} that it lacks"
