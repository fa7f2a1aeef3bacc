"""Calls a service by the package azmlclient.

Arguments: `score`, its address and its key; or `run-job`, its address, its key, the address of
storage, and the rows as CSV.
"""

import importlib.util
import io
import json
import sys
from types import ModuleType
from typing import Any

# The package's first module makes classes in a way that newer versions of Python refuse, so only
# the modules that make calls are imported.
found = importlib.util.find_spec("azmlclient")
assert found is not None
package = ModuleType("azmlclient")
package.__path__ = list(found.submodule_search_locations or ())
sys.modules["azmlclient"] = package

import azure.storage.blob as storage  # noqa: E402
import pandas as pd  # noqa: E402

# Older versions of pandas had this name, which the package reads.
pd.Series.iteritems = pd.Series.items

# The account that every copy of Azurite has, with its published key.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def score(url: str, key: str) -> None:
    from azmlclient.base import execute_rr

    rows = {"season": [1, 2], "hour": [8, 9], "holiday": [True, False], "note": ["x", "y"]}
    asked = {"input1": pd.DataFrame(rows)}
    answers = [
        execute_rr(key, url, asked, output_names=["output1"], use_swagger_format=swagger)["output1"]
        for swagger in (False, True)
    ]
    print(json.dumps([json.loads(one.to_json(orient="records")) for one in answers]))


def run_job(url: str, key: str, blob: str, rows: str) -> None:
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={blob}/{ACCOUNT}"
    )

    class LocalStorage(storage.BlockBlobService):  # type: ignore[misc, name-defined]
        """The package knows an account by its name only; this account is on this machine."""

        def __init__(self, request_session: Any = None, **_: Any) -> None:
            super().__init__(connection_string=connection, request_session=request_session)

    storage.BlockBlobService = LocalStorage  # type: ignore[attr-defined]
    from azmlclient import base_databinding_blobs
    from azmlclient.base import execute_bes

    base_databinding_blobs._get_blob_service_connection_string = lambda _: connection
    answers = execute_bes(
        key,
        url,
        ACCOUNT,
        KEY,
        "jobs",
        blob_path_prefix="azmlclient",
        inputs={"input1": pd.read_csv(io.StringIO(rows))},
        output_names=["output1"],
        nb_seconds_between_status_queries=0.1,
    )
    print(json.dumps(answers["output1"].to_dict(orient="records")))


{"score": score, "run-job": run_job}[sys.argv[1]](*sys.argv[2:])
