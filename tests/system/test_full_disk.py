"""A gateway whose files may not grow any more, as on a full disk, and then may again."""

from __future__ import annotations

import resource
from pathlib import Path

import httpx
import pytest
from crash import Gateway, running

KEPT, ELSEWHERE = "/-/events/crash/a", "/-/events/memory/a"


async def statuses(gateway: Gateway, path: str, count: int) -> list[int]:
    async with httpx.AsyncClient(base_url=gateway.url, headers=gateway.headers, timeout=60) as client:
        return [(await client.post(path, content=b"x" * 100_000)).status_code for _ in range(count)]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process can be set on Linux only")
async def test_a_disk_that_takes_nothing_more_is_told_and_recovered_from(tmp_path: Path) -> None:
    """R08: by the operating system's own error."""
    async with running(tmp_path) as gateway:
        assert set(await statuses(gateway, KEPT, 3)) == {202}
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (1 << 20, hard))
        assert (await statuses(gateway, KEPT, 30))[-1] in (503, 507)
        assert set(await statuses(gateway, ELSEWHERE, 3)) == {202}
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert set(await statuses(gateway, KEPT, 3)) == {202}
