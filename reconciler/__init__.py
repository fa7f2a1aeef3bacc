"""Declare, in YAML, which trained model each machine-learning web service must serve.

Imports nothing: `reconciler version` and shell completion start as fast as click does.
"""

__version__ = "0.1.0"
