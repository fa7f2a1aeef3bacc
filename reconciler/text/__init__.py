"""Rules about plain text: strict JSON, durations, times, and suggestions.

Pure functions of values, which know nothing of services, plans or manifests.
"""
