"""What was applied, kept in order; every class here passes one and the same suite of tests.

An entry is durable before it counts, and no entry ever holds a secret.
"""

from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.observations import ObservationCache

__all__ = ["FileLedger", "ObservationCache"]
