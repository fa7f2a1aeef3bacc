"""Trains a model with a training service, and judges the result.

It follows one job through every interruption and writes each state to the ledger. It must not know
a vendor, and it changes no service that serves a model.
"""
