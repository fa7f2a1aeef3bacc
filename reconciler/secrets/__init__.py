"""Rules about secrets: how they are recognised, removed from text, and told apart from names.

Pure functions of values: a secret's value is never stored or logged here.
"""
