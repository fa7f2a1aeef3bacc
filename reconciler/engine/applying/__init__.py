"""Applies a plan: admission checks, waves, steps, the journal, rollback and recovery.

It calls services only through the port of a provider.
It must not compute a plan and must not know the command line.
"""
