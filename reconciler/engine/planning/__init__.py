"""Makes a plan: selects resources, reads them, compares them, and runs the guards.

It calls services only through the port of a provider.
It must not send a write and must not know the command line.
"""
