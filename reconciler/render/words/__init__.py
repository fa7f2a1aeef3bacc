"""Words that every output shares: escapes, counts, names, groups and colour.

It must not know plans, reports or events.
"""
