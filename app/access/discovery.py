"""Fetching what an issuer publishes: one GET, bounded in time and size, that follows nothing."""

from __future__ import annotations

import asyncio

import httpx

MAX_BYTES = 256 * 1024


async def fetch(url: str, seconds: float) -> bytes:
    """The body at `url`. Raises OSError when it cannot be had in time, ValueError when the answer is none to use.

    No redirects, no compression (a small answer could become a large one), no cookies.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(seconds), httpx.AsyncClient(timeout=seconds) as client:
            async with client.stream("GET", url, headers=headers) as response:
                if response.status_code != 200:
                    raise ValueError(f"the answer is {response.status_code}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise ValueError("the answer is compressed")
                data = b""
                async for piece in response.aiter_raw():
                    data += piece
                    if len(data) > MAX_BYTES:
                        raise ValueError(f"the answer is larger than {MAX_BYTES} bytes")
                return data
    except TimeoutError:
        raise OSError(f"no answer within {seconds:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(str(error) or type(error).__name__) from None
