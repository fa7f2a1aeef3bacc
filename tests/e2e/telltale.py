"""A service that tells whoever asks all that it has heard, and secrets of its own.

It does what it is asked, over a real socket, and repeats every secret of its callers wherever a
service can say something: in definitions, lists, errors, operations, headers and addresses.
"""

import base64
import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from tests.e2e.markers import Marker, plant
from tests.scripted import Answer, Call

Json = Any
_SIGNED = "sv=2024-01-01&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=r&sig={}%2Bx%3D"
OWN = {
    name: plant(f"live {name}", form)
    for name, form in (
        ("primary", "{} key"),
        ("secondary", "{}+/="),
        ("storage", "{}=="),
        ("credentials", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}+/=="),
        ("payload", _SIGNED),
        ("model", _SIGNED),
        ("module", _SIGNED),
        ("text", _SIGNED),
        ("example", _SIGNED),
        ("connection", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}=="),
        ("next", _SIGNED),
        ("location", _SIGNED),
        ("error", _SIGNED),
    )
}


def spellings(secret: str) -> list[str]:
    """A secret as it may come back."""
    return [
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
        secret.upper(),
    ]


@dataclass
class Telltale:
    """`services` by name; `faults` by method.

    `heard` is what it knows of its callers, `stored` what the storage beside it knows of them.
    """

    managed: ClassVar = "/subscriptions/"
    markers: Sequence[Marker]
    services: dict[str, Json] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    told: int = 0
    polled: int = 0

    def __call__(self, call: Call, _: int) -> Answer:
        path = unquote(urlsplit(call.target).path)
        stores = not path.startswith(self.managed)
        self._listen(call, self.stored if stores else self.heard)
        word = self.faults.get(call.method, "")
        if stores:
            return self._deny(int(self.faults.get("HEAD", "403")))
        if "/operationsstatus/" in path:
            return self._tell_operation()
        if word:
            spoiled = self._spoil(call, word)
            if spoiled is not None:
                return spoiled
        return self.answer(call, path.rpartition("/")[2].lower())

    # What it hears.

    def _listen(self, call: Call, heard: dict[str, str]) -> None:
        reported = [*call.headers.values(), *_texts(_parse(call.body))]
        reported += [unquote(call.target)] if heard is self.stored else []
        for marker in self.markers:
            if any(marker.value in one or marker.core in one for one in reported):
                heard[marker.place] = marker.value

    def forget(self, places: Iterable[str]) -> None:
        """What no command has sent cannot be known to it."""
        for place in places:
            self.heard.pop(place, None)

    def gossip(self) -> str:
        """Some of what it knows, something else each time."""
        return self._pick([spelling for one in self.heard.values() for spelling in spellings(one)])

    def gossip_escaped(self) -> str:
        """The same for a place where only visible ASCII may stand."""
        return self._pick([quote(one, safe="") for one in self.heard.values()])

    def gossip_host(self) -> str:
        """The same for the name of a host, as far as a secret can be one."""
        return self._pick([one for one in self.heard.values() if one.isalnum()])

    def _pick(self, said: list[str]) -> str:
        self.told += 1
        return said[self.told % len(said)] if said else "nothing"

    def all_gossip(self) -> Iterator[str]:
        for secret in self.heard.values():
            yield from spellings(secret)

    # What it says.

    def answer(self, call: Call, name: str) -> Answer:
        """What is said of a service, or of all of them."""
        if name == "webservices":
            return self._list(call)
        if call.method == "GET":
            if name not in self.services:
                return self.refuse(404, "WebServiceNotFound")
            return Answer(200, self.show(name), self.make_headers())
        if call.method == "DELETE":
            self.services.pop(name, None)
        elif self.faults.get(call.method) != "ignored":
            self._take(call, name)
        # Recorded for the preview: the reply to a PUT has what was sent, secrets included.
        sent = _parse(call.body)
        echo = {**sent, "echo": list(self.all_gossip())} if isinstance(sent, dict) else None
        self.polled = 0
        place = "/subscriptions/s/providers/Microsoft.MachineLearning/locations/x/operationsstatus/"
        reported = f"{place}{self.gossip_escaped()}?{OWN['location'].value}"
        status = {"PUT": 201, "PATCH": 200}.get(call.method, 202)
        return Answer(status, echo, {**self.make_headers(), "Azure-AsyncOperation": reported})

    def _take(self, call: Call, name: str) -> None:
        body = json.loads(call.body)
        document = self.services.setdefault(name, {"properties": {}})
        document["properties"] |= body.pop("properties", {})
        document |= body

    def show(self, name: str) -> Json:
        """The definition, with everything in it that should not be."""
        document = copy.deepcopy(self.services[name])
        properties = document["properties"]
        scope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/webServices"
        kind = "Microsoft.MachineLearning/webServices"
        document |= {"id": f"{scope}/{name}", "name": name, "type": kind}
        properties["provisioningState"] = "Succeeded"
        properties["modifiedOn"] = "2020-01-01T00:00:00Z"
        properties["keys"] = {one: OWN[one].value for one in ("primary", "secondary")}
        properties.setdefault("storageAccount", {})["key"] = OWN["storage"].value
        payload = f"https://a.blob.core.windows.net/p?{OWN['payload'].value}"
        properties["payloadsLocation"] = {"uri": payload, "credentials": OWN["credentials"].value}
        for asset in properties["assets"].values():
            place = asset["locationInfo"]
            place["credentials"] = OWN["credentials"].value
            if place["uri"].startswith("http"):
                place["uri"] = f"{place['uri'].partition('?')[0]}?{OWN['model'].value}"
        properties.setdefault("title", f"heard {self.gossip()} today")
        properties["unheardOf"] = {"echo": list(self.all_gossip()), "at": sign("text")}
        return document

    def deploy(self, name: str, document: Json) -> None:
        """A service that somebody else made, and wrote signatures all over."""
        properties = document["properties"]
        properties.pop("title")
        properties["description"] = f"see {sign('text')} or {OWN['connection'].value};x=1"
        properties["exampleRequest"] = {"inputs": {"input1": [["a", sign("example")]]}}
        properties["assets"]["asset1"]["locationInfo"]["uri"] = sign("module")
        properties["assets"]["asset1"]["metadata"] = {"at": sign("text")}
        document["tags"] = {"at": sign("text")}
        self.services[name] = document

    def _list(self, call: Call) -> Answer:
        target = urlsplit(call.target)
        word = self.faults.get("LIST", "")
        items = [self.show(name) for name in self.services]
        for item in items:
            item["properties"].pop("assets")
        first = "skiptoken" not in target.query
        page: Json = {"value": items[:1] if first else items[1:], "echo": list(self.all_gossip())}
        if first or word == "circle":
            token = "" if word == "circle" else self.gossip_escaped()
            host = f"{self.gossip_host()}.test" if word == "elsewhere" else call.headers["Host"]
            page["nextLink"] = (
                f"http://{host}{target.path}?{target.query.partition('&')[0]}"
                f"&%24skiptoken=x{token}&{OWN['next'].value}"
            )
        return Answer(200, page, self.make_headers())

    def _tell_operation(self) -> Answer:
        self.polled += 1
        if "unfollowed" in self.faults.values():
            return self.refuse(400, "OperationUnknown")
        if self.polled == 1 or "endless" in self.faults.values():
            return Answer(200, {"status": f"Running {self.gossip()}"}, self.make_headers())
        if "failed" in self.faults.values():
            return Answer(200, {"status": "Failed", **self._error("OperationFailed")})
        return Answer(200, {"status": "Succeeded", "echo": list(self.all_gossip())})

    def _error(self, code: str) -> Json:
        said = f"No. {self.gossip()} and {self.gossip()}, see https://a/b?{OWN['error'].value}"
        inner = {"code": f"{code}", "message": said, "target": self.gossip()}
        return {
            "error": {
                "code": f"X{self.gossip()}",
                "message": " ".join(self.all_gossip()),
                "details": [inner],
            }
        }

    def refuse(self, status: int, code: str, **more: str) -> Answer:
        """An error that tells all."""
        return Answer(status, self._error(code), {**self.make_headers(), **more})

    def _deny(self, status: int) -> Answer:
        """What storage says."""
        said = [spelling for secret in self.stored.values() for spelling in spellings(secret)]
        reported = quote(said[len(said) // 2], safe="") if said else ""
        body = f"<Error><Code>Denied{reported}</Code><Message>{' '.join(said)}</Message></Error>"
        headers = {"Content-Type": "application/xml", "x-ms-error-code": reported, "ETag": reported}
        if status != 403:  # as something before storage would
            headers = {"Content-Type": "text/html", "ETag": reported}
        return Answer(status, body.encode(), headers)

    def make_headers(self) -> dict[str, str]:
        """What it says beside any answer."""
        said = self.gossip_escaped()
        return {"x-ms-request-id": f"id {said}", "x-ms-echo": said, "ETag": f'"{said}"'}

    def _spoil(self, call: Call, word: str) -> Answer | None:
        said = self.gossip_escaped()
        if word.isdecimal():
            # A limit that asks for no wait would be called again and again until the time is over.
            return self.refuse(int(word), f"Code{word}{self.gossip()}", **{"Retry-After": "1"})
        if word == "cut":
            return Answer(200, {"echo": list(self.all_gossip())}, self.make_headers(), cut=True)
        if word == "slow":
            return Answer(500, self._error("Slow"), wait=1.0)
        if word == "page":
            kind = {"Content-Type": f"text/html; {said}"}
            return Answer(403, f"<p>{' '.join(self.all_gossip())}".encode(), kind)
        if word == "nonsense":
            kind = {"Content-Type": f"x/{said}"}
            return Answer(200, f"<p>{' '.join(self.all_gossip())}".encode(), kind)
        if word == "redirect":
            return Answer(
                307, None, {"Location": f"https://{self.gossip_host()}.test/{said}?{said}"}
            )
        return None


def sign(own: str) -> str:
    """An address with a signature of its own."""
    return f"https://a.blob.core.windows.net/c/{own}.x?{OWN[own].value}"


def _parse(body: bytes) -> Json:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _texts(document: Json) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)
