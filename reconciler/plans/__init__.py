"""Computes plans: steps, reasons, guards, waves, estimates, evidence, and the saved plan.

All functions are pure: they do no input or output and read no clock.
This folder must not know any vendor, kind, provider or file.
"""
