"""The emulator's batch jobs: requests, the queue, and training of real models on CSV files.

The server calls it. It must not import code of the client.
"""
