"""What was applied, kept in order; every class here passes one and the same suite of tests.

An entry is durable before it counts, and no entry ever holds a secret. lines.py knows what a line
says, chain.py how lines follow one another, proof.py whether they do; lease.py knows what is the
same for every lock. None of these reads or writes anything.
"""

from reconciler.ledgers.azure_blob import AzureBlobLedger
from reconciler.ledgers.container import Container
from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.lease import Rhythm
from reconciler.ledgers.machine import describe_process
from reconciler.ledgers.observations import ObservationCache
from reconciler.ledgers.opening import open_ledger
from reconciler.ledgers.recovery import read_entries, write_entries

__all__ = [
    "AzureBlobLedger",
    "Container",
    "FileLedger",
    "ObservationCache",
    "Rhythm",
    "describe_process",
    "open_ledger",
    "read_entries",
    "write_entries",
]
