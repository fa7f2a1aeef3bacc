"""Identity of model blobs: whether they are there, how long, with which digest."""

from reconciler.blobs.storage import BlobStorage

__all__ = ["BlobStorage"]
