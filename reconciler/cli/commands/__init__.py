"""One module for each command: its options, and the calls that it makes.

A command imports what it needs when it runs. It knows no vendor and holds no rule of the product.
"""
