"""Loads YAML as `Manifest` values, with the source location of every value and all findings.

It must not know a provider, the ledger or the engine. It raises nothing for what users wrote:
findings report it, with file:line:col. `folder` reads files, `budget` bounds what they hold
together, `yaml_text` makes values, `schema` checks them, `definition` knows the service's document,
and `editing` changes values in place.
"""

from reconciler.manifests.folder import PROJECT_FILE
from reconciler.manifests.loading import Loaded, load

__all__ = ["PROJECT_FILE", "Loaded", "load"]
