"""The emulator's Classic web services: management calls, endpoints, and workspaces.

It imports nothing of the client.
"""
