"""The emulator's faults: the fault file, when a fault applies, and what it does to a reply.

The server calls it. It must not import code of the client.
"""
