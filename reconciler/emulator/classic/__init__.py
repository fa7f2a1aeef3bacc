"""The emulator's Classic web services: management calls, endpoints, and workspaces.

The server calls it. It must not import code of the client.
"""
