"""Expands fleets: one template and many items, and an ordinary manifest from each item.

It must not know a provider or the engine. `items` reads the items, `template` fills them in,
`checks` checks parts of the template, `expansion` makes members, `findings` merges findings.
"""
