"""The events of a running command as lines for people, as JSON lines, and as a progress bar.

An event sink cannot steer the engine.
"""
