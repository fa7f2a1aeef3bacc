"""Model blobs in storage: whether a blob exists, its size and its digest, and its upload.

This package does not know plans, manifests or kinds. It is the only package besides the ledgers
that may import azure-storage-blob.
"""

from reconciler.blobs.storage import BlobStorage
from reconciler.blobs.upload import upload_model

__all__ = ["BlobStorage", "upload_model"]
