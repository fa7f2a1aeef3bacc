"""Carries out a plan: admission, waves, one step after another, the journal, and recovery.

It speaks to services only through a provider's port, and computes no plan of its own.
"""
