"""Handles one service document: its schema, comparison, overlay and patch.

All functions are pure: they do no input or output and read no clock.
This folder must not know any vendor, kind, plan or ledger.
"""
