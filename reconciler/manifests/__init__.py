"""YAML to `Manifest`, with the place of everything and every finding in one run.

Nothing is raised for what people wrote: findings say it, each with file:line:col. The work is
shared out: folder.py finds and reads files, yaml_text.py makes values, schema.py checks them,
definition.py knows the part in the service's words. editing/ changes values in place, and
whole.py puts the text back.
"""

from reconciler.manifests.loading import PROJECT_FILE, Loaded, load

__all__ = ["PROJECT_FILE", "Loaded", "load"]
