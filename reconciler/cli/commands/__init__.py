"""One module for each command: its options, and the calls that it makes.

A command imports what it needs when it runs, so that start-up is fast.
It must not know a vendor or hold a rule of the product.
"""
