"""The emulator's scoring calls: predictions that depend on the bytes of the current model.

The server calls it. It must not import code of the client.
"""
