"""The stories of `reconciler demo`: real commands against the emulator, printed step by step.

No other command imports this folder. It must not know how a command works: it runs each one as a
process.
"""
