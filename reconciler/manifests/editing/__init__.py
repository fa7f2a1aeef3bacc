"""Changing single values in a file that people wrote; every other character stays.

Writing a document anew loses its comments, quotes and order. Here the text is spliced: layout.py
says where everything stands, blocks.py and brackets.py what to put there, notation.py how to write
it. What comes out is read again by the same strict reader, and is the wanted document or an error.
"""

from reconciler.manifests.editing.changes import put
from reconciler.manifests.editing.edits import Edit, edit_json, edit_yaml, find_document

__all__ = ["Edit", "edit_json", "edit_yaml", "find_document", "put"]
