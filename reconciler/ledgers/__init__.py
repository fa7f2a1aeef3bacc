"""Stores what was applied, in order, in a file or in blob storage, with the lock of the ledger.

An entry is durable before `record` returns, and no entry contains a secret. Nothing here may know
a kind of resource, a plan, a command or a terminal. Every ledger passes the same contract tests.
"""
