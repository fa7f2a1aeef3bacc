"""Scores a Classic endpoint by the package azureml. Arguments: its address and its key."""

import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from azureml import services

# Python 2 had this name, which the package reads.
inspect.Arguments.keywords = property(lambda self: self.varkw)


def main(url: str, key: str) -> None:
    def make(query: str, returned: object) -> Callable[..., Any]:
        @services.service(f"{url}/execute?api-version=2.0{query}", key)
        @services.types(season=int, hour=int, holiday=bool, note=str)
        @services.returns(returned)
        def rent(season, hour, holiday, note):
            raise AssertionError("the service answers")

        return rent

    short = make("", (int, int, bool, str, str, float))
    named = make("&details=true", {"Scored Probabilities": float})
    print(
        json.dumps(
            [short(1, 8, True, "x"), named(1, 8, True, "x"), short.map([2], [9], [False], ["y"])]
        )
    )


main(*sys.argv[1:])
