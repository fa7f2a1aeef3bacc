"""Scores a Classic endpoint by the package azmlclient. Arguments: its address and its key."""

import importlib.util
import json
import sys
from types import ModuleType

# The package's first module makes classes in a way that newer versions of Python refuse, so only
# the modules that make calls are imported.
found = importlib.util.find_spec("azmlclient")
assert found is not None
package = ModuleType("azmlclient")
package.__path__ = list(found.submodule_search_locations or ())
sys.modules["azmlclient"] = package

import pandas as pd  # noqa: E402
from azmlclient.base import execute_rr  # noqa: E402

# Older versions of pandas had this name, which the package reads.
pd.Series.iteritems = pd.Series.items


def main(url: str, key: str) -> None:
    rows = {"season": [1, 2], "hour": [8, 9], "holiday": [True, False], "note": ["x", "y"]}
    asked = {"input1": pd.DataFrame(rows)}
    answers = [
        execute_rr(key, url, asked, output_names=["output1"], use_swagger_format=swagger)["output1"]
        for swagger in (False, True)
    ]
    print(json.dumps([json.loads(one.to_json(orient="records")) for one in answers]))


main(*sys.argv[1:])
