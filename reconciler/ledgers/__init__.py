"""Where it is kept what was applied; each ledger is a module with the same suite of tests."""

from reconciler.ledgers.file import FileLedger

__all__ = ["FileLedger"]
