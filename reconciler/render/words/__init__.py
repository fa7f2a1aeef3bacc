"""Words that every output shares: escapes, counts, names, groups and colour.

It knows no plan, no report and no event.
"""
