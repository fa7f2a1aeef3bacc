"""How many reads of a 15-kB definition a server answers in a second, over ten connections."""

import asyncio
import time

import aiohttp

from tests.benchmarks.documents import OLD, SERVICES, definition, name_of
from tests.benchmarks.static_server import run_static_server
from tests.e2e.world import spawn_emulator

_READS = 4000
_AT_ONCE = 10


def measure_documents() -> float:
    """Of the server of documents."""
    with run_static_server() as url:
        return asyncio.run(_read(f"{url}{SERVICES}/{name_of(0)}"))


def measure_emulator() -> float:
    """Of the emulator."""
    with spawn_emulator("--operation-seconds", "0", "--no-blob") as emulator:
        recorded = definition(name_of(0), OLD)
        body = {name: recorded[name] for name in ("location", "tags", "properties")}
        body["properties"]["storageAccount"]["key"] = "k"
        body["properties"]["commitmentPlan"] = {"id": "/plan"}
        emulator.write("PUT", name_of(0), body)
        return asyncio.run(_read(f"{emulator.url}{emulator.path(name_of(0))}"))


async def _read(url: str) -> float:
    """Reads per second."""
    headers = {"Authorization": "Bearer emulator"}
    query = "?api-version=2017-01-01"

    async def work(session: aiohttp.ClientSession, count: int) -> None:
        for _ in range(count):
            async with session.get(url + query) as reply:
                assert reply.status == 200
                assert len(await reply.read()) > 14_000

    async with aiohttp.ClientSession(headers=headers) as session:
        started = time.perf_counter()
        await asyncio.gather(*(work(session, _READS // _AT_ONCE) for _ in range(_AT_ONCE)))
        return _READS / (time.perf_counter() - started)
