"""The emulator's New web services: Resource Manager's calls, operations and stored documents.

It imports nothing of the client.
"""
