"""Makes a plan: selects resources, reads them, compares, and applies the guards.

It sends no write, and speaks to services only through a provider's port.
"""
