"""The emulator's New web services: Resource Manager's calls, operations and stored documents.

The server calls it. It must not import code of the client.
"""
