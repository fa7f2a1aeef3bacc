"""Declare, in YAML, which trained model each machine-learning web service must serve.

This module imports nothing: `reconciler version` and shell completion start as fast as click.
"""

__version__ = "0.1.0"
