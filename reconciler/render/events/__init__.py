"""Shows the events of a running command as lines for people, JSON lines and a progress bar.

It must not know the engine, and it must not influence the run.
"""
