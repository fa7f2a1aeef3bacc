"""Identity of model blobs: whether they are there, how long, with which digest."""

from reconciler.blobs.storage import BlobStorage
from reconciler.blobs.upload import upload_model

__all__ = ["BlobStorage", "upload_model"]
