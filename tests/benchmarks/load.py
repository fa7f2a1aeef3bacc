"""How many reads of a 15-kB definition the emulator answers in a second."""

import asyncio
import json
import time
from pathlib import Path

import aiohttp

from tests.e2e.world import run_emulator

_RECORDED = Path(__file__).parents[1] / "contract" / "recorded" / "definition.get-after-patch.json"
_READS = 4000
_AT_ONCE = 10


def measure_load() -> tuple[float, int]:
    """Reads per second, and the bytes of one answer."""
    with run_emulator("--operation-seconds", "0", "--no-blob") as emulator:
        recorded = json.loads(_RECORDED.read_bytes())
        body = {name: recorded[name] for name in ("location", "tags", "properties")}
        body["properties"]["storageAccount"]["key"] = "k"
        body["properties"]["commitmentPlan"] = {"id": "/plan"}
        emulator.write("PUT", "census", body)
        return asyncio.run(_read(f"{emulator.url}{emulator.path('census')}?api-version=2017-01-01"))


async def _read(url: str) -> tuple[float, int]:
    headers = {"Authorization": "Bearer emulator"}
    sizes: set[int] = set()

    async def work(session: aiohttp.ClientSession, count: int) -> None:
        for _ in range(count):
            async with session.get(url) as reply:
                assert reply.status == 200
                sizes.add(len(await reply.read()))

    async with aiohttp.ClientSession(headers=headers) as session:
        started = time.perf_counter()
        await asyncio.gather(*(work(session, _READS // _AT_ONCE) for _ in range(_AT_ONCE)))
        seconds = time.perf_counter() - started
    (size,) = sizes
    return _READS / seconds, size
