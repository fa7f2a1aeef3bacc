"""Proofs that an apply survives anything: `python -m tests.survival`, and in short form in CI.

Real processes, killed for real at places that a hook in the ports finds; a real emulator, whose
log of requests is the witness; and each story ends with the same questions: does the next run
converge at the first go, is live what was declared, was any effect had twice, does the ledger hold.
"""
