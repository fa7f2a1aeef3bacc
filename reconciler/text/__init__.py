"""Rules about plain text: strict JSON, patterns, counts, durations, times, and suggestions.

All functions are pure. This folder must not know a service, a plan or a manifest.
"""
