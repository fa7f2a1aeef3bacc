"""The emulator's scoring calls: predictions by the bytes of the current model.

It imports nothing of the client.
"""
