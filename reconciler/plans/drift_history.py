"""Recognises the findings of earlier drift runs by their keys, and dates them.

It must not read the history. The drift report of the engine calls it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from reconciler.model import ABSENT, Drift
from reconciler.text.json_text import encode_canonical

_DIGITS: Final = 16


def make_key(finding: Drift) -> str:
    """Return the digest that names the same difference in each run.

    A hidden value is not a part of it. Another resource of the same address has other keys.
    """
    live = [] if finding.live is ABSENT else [finding.live]
    address, id_ = str(finding.resource.address), finding.resource.id.casefold()
    said = [address, id_, finding.verdict.value, finding.pointer, live]
    return hashlib.sha256(encode_canonical(said)).hexdigest()[:_DIGITS]
