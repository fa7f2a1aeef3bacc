"""Signatures for blobs of the storage emulator, by its published key."""

from datetime import UTC, datetime, timedelta

from azure.storage.blob import BlobSasPermissions, generate_blob_sas

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def sign(uri: str, *, read: bool = True, begins: float = -1.0, ends: float = 1.0) -> str:
    """A signature for a blob; hours from now."""
    _, _, rest = uri.partition(f"/{ACCOUNT}/")
    container, _, name = rest.partition("/")
    now = datetime.now(UTC)
    return generate_blob_sas(
        ACCOUNT,
        container,
        name,
        account_key=KEY,
        permission=BlobSasPermissions(read=read, write=not read),
        start=now + timedelta(hours=begins),
        expiry=now + timedelta(hours=ends),
    )
