"""The stories of `reconciler demo`: real commands against the emulator, printed step by step.

No other command imports this folder.
"""
