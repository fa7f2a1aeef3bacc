"""The emulator's faults: the fault file, when a fault applies, and what it does to a reply.

It imports nothing of the client.
"""
