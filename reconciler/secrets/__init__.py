"""Rules about secrets: recognises them, removes them from text, and distinguishes them from names.

Pure functions of values. It must not read a secret from its source, store it or log it.
"""
