"""What libraries log stays unheard: they log what they were given, signed addresses among it.

Python prints the warnings and errors of loggers that nobody has configured on stderr.
"""

from __future__ import annotations

import logging
from typing import Final

_NOWHERE: Final = logging.NullHandler()


def hush_loggers() -> None:
    """Have nothing that is logged printed; may be done again."""
    logging.getLogger().addHandler(_NOWHERE)
