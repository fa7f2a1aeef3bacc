"""Changes single values in a file that people wrote, and keeps every other character.

A rewritten document would lose its comments, quotes and order. It must not know the engine or a
ledger. `layout` finds the offsets of values, `block_style` and `flow_style` compute the splices,
and `style` formats values. The strict reader reads each result again and compares it.
"""

from reconciler.manifests.editing.changes import put
from reconciler.manifests.editing.edits import edit_json, edit_yaml, find_document
from reconciler.model import Edit

__all__ = ["Edit", "edit_json", "edit_yaml", "find_document", "put"]
