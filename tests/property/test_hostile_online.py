"""An online endpoint that answers anything: no answer breaks more than the one check."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ReconcilerError
from reconciler.kinds.online_endpoint import KIND
from reconciler.kinds.online_endpoint.logs import read_last_line
from reconciler.kinds.online_endpoint.models import AssetLookup
from reconciler.kinds.online_endpoint.probes import EndpointProbes
from reconciler.kinds.online_endpoint.serving import show_serving
from reconciler.model import Check, Json, Manifest
from reconciler.transport import Client
from reconciler.transport.timeouts import Timeouts
from tests.access import access
from tests.clocks import FakeClock
from tests.laws import examples
from tests.scripted import Answer, Call, Scripted, run_scripted
from tests.wire.test_online_probes import ID, RESOURCE

NAMES = st.sampled_from(
    [
        "id",
        "properties",
        "primaryKey",
        "accessToken",
        "refreshAfterTimeUtc",
        "content",
        "modelUri",
        "modelType",
        "error",
        "code",
        "datastoreType",
        "accountName",
        "deployments",
        "traffic",
        "model",
        "green",
        "a\nb",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(
        [
            "custom_model",
            "AzureBlob",
            "https://a.blob.core.windows.net/c/m.pkl?sig=x",
            "azureml://subscriptions/../resourcegroups/%2e/workspaces/w/datastores/d/paths/../m.pkl",
        ]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=4),
    max_leaves=10,
)
ANSWERS = st.builds(
    Answer,
    st.sampled_from([200, 200, 200, 200, 204, 400, 404, 424]),
    ANYTHING,
    st.fixed_dictionaries(
        {},
        optional={
            "azureml-model-deployment": st.sampled_from(["green", "blue", "x" * 900, "é\t"]),
            "x-ms-run-function-failed": st.sampled_from(["True", "false", ""]),
        },
    ),
)
SPEC: Json = {
    "traffic": {"green": 100},
    "deployments": {"green": {"model": "azureml:census:2"}},
    "rollout": {"probe": {"request": {}, "expect": [1], "count": 1}},
}
MANIFEST = Manifest(RESOURCE.address, SPEC, "c.yaml", "sha256:0")


class Hostile:
    """A server whose answers a test gives one after another; the last one goes on."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.scored = ""

    def serve(self, call: Call, _: int) -> Answer:
        if call.target.partition("?")[0] == ID and self.scored:
            address = {"scoringUri": f"{self.scored}/score", "authMode": "Key"}
            return Answer(200, {"id": ID, "properties": address})
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(scope="module")
def hostile() -> Iterator[tuple[Hostile, Scripted]]:
    made = Hostile()
    with run_scripted(made.serve) as server:
        yield made, server


def connect(server: Scripted) -> tuple[EndpointProbes, Client]:
    given = access(server.url)
    clock = FakeClock()
    client = Client(
        server.url,
        given.emit,
        given.rate_limiter,
        redaction=given.redaction,
        timeouts=Timeouts(retries=0),
        clock=clock,
        sleep=clock.sleep,
    )
    return EndpointProbes(given, client), client


@examples(150)
@given(given_answers=st.lists(ANSWERS, min_size=1, max_size=4), reads=st.booleans())
def test_any_answer_is_an_error_of_ours_or_a_sign(
    hostile: tuple[Hostile, Scripted], given_answers: list[Answer], reads: bool
) -> None:
    made, server = hostile
    made.answers, made.scored = [*given_answers], server.url if reads else ""
    probes, client = connect(server)
    for settings in (
        {"sort": "probe", "deployment": "green", "count": 2},
        {"sort": "shares", "traffic": {"green": 100}, "count": 2},
    ):
        with suppress(ReconcilerError):
            list(probes.check_write(RESOURCE, Check("", settings), MANIFEST))
    document = given_answers[0].body
    assert show_serving(probes, RESOURCE, document, MANIFEST).traffic.said
    assert len(read_last_line(client, f"{ID}/deployments/green")) < 400
    with suppress(ReconcilerError):
        found = AssetLookup(client).locate_model(RESOURCE, "azureml:census:2")
        assert not found or "sig=" not in str(found)
    with suppress(ReconcilerError):
        KIND.connect(access(server.url)).read(RESOURCE)
