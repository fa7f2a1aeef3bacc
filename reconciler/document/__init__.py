"""Rules about one service document: its schema, comparison, overlay and patch.

Pure functions of values: no input or output, no clock, and no knowledge of any vendor or kind.
"""
