"""Fleets: one template and many items, from each of which an ordinary manifest is made.

items.py reads what the items hold, template.py fills them in, parts.py knows the template as a
manifest, expansion.py makes the members, tally.py tells what is wrong with many of them once.
"""
