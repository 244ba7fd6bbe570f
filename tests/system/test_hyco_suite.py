"""The test suite that ships inside hyco-https, unmodified. It wants the relay on port 443 with TLS, so root runs it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from pathlib import Path

import pytest
from programs import NODE_SCRIPTS, require_node_modules
from worlds import KEY, KEY_NAME, running_gateway

from app.certificates import development_certificate
from app.config import Settings
from app.store.folder import DataFolder


def address_with_port_443() -> str:
    """A loopback address of which port 443 is free, any other than 127.0.0.1; skips where that needs more rights."""
    for _ in range(10):
        host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        with socket.socket() as probe:
            try:
                probe.bind((host, 443))
            except PermissionError:
                pytest.skip("port 443 can only be bound by root")
            except OSError:
                continue
        return host
    pytest.skip("no loopback address has port 443 free")


async def jest(file: str, host: str, authority: Path, report: Path) -> None:
    """Run one file of the suite; jest writes what it found into `report`."""
    node = require_node_modules()
    program = NODE_SCRIPTS / "node_modules" / "jest" / "bin" / "jest.js"
    if not program.is_file():
        pytest.skip("jest is not installed")
    environment = {
        "NODE_EXTRA_CA_CERTS": str(authority),
        "SB_HC_NAMESPACE": host,
        "SB_HC_PATH": "a2",
        "SB_HC_KEYRULE": KEY_NAME,
        "SB_HC_KEY": KEY,
    }
    options = ["--runInBand", "--json", "--outputFile", report, "--config", NODE_SCRIPTS / "jest.config.json"]
    process = await asyncio.create_subprocess_exec(
        node,
        program,
        *options,
        f"tests/{file}",
        cwd=NODE_SCRIPTS,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(100):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("file", "count"),
    [("get.test.js", 1), ("post.test.js", 25), ("chunkedpost.test.js", 5), ("pipe.test.js", 8)],
    ids=["get", "post", "chunkedpost", "pipe"],
)
async def test_own_suite_of_hyco_https_passes(file: str, count: int, tmp_path: Path) -> None:
    """K-get, K-post, K-chunkedpost, K-pipe, E-node: sender and listener are the module, judged by itself."""
    host = address_with_port_443()
    development_certificate(Settings(), DataFolder(tmp_path / "data"), [host])
    relays = [{"name": "a2", "profile": "hybridConnection"}]
    async with running_gateway(tmp_path, relays=relays, tls=True, tls_listen=f"{host}:443") as world:
        assert world.ca is not None
        await jest(file, host, world.ca, tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text("utf-8"))
    failed = [each["message"] for each in told["testResults"] if each["status"] != "passed"]
    assert failed == []
    assert (told["numPassedTests"], told["numTotalTests"]) == (count, count)
