"""One request and its response, within limits of time and size."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.backoff import retry_after

if TYPE_CHECKING:
    import httpx

MAX_BODY = 4 * 2**20
"""Most bytes of a response; the longest answers have some tens of thousands of tokens."""

MAX_WAIT = 300.0
"""A server that asks for a longer pause is asked again after this many seconds."""


@dataclass(frozen=True)
class Response:
    """A response that arrived whole.

    Attributes:
        status: Of HTTP.
        body: As it came.
        wait: Seconds after which the server wants to be asked again; None if it does not say.
    """

    status: int
    body: bytes
    wait: float | None = None


@dataclass(frozen=True)
class Broken:
    """A response that did not arrive.

    Attributes:
        why: What happened.
        again: Whether asking again may help.
        charged: Whether the server may have answered and charged for it.
    """

    why: str
    again: bool = True
    charged: bool = True


async def exchange(
    http: httpx.AsyncClient, url: str, body: dict[str, Any], headers: dict[str, str], total: float
) -> Response | Broken:
    """Send a request and read its response.

    A response that is compressed, though this was not asked for, or too long is not read. The time
    limit holds for all of it, so a server that sends a byte now and then stalls nothing.

    Args:
        http: The connections, with time limits of their own.
        url: Where to.
        body: The JSON to send.
        headers: Of the request; they may hold a key.
        total: Longest time, in seconds.
    """
    import httpx

    try:
        async with asyncio.timeout(total):
            async with http.stream("POST", url, json=body, headers=headers) as response:
                return await _read(response)
    except TimeoutError:
        return Broken(f"it took longer than {total:g} s")
    except httpx.ConnectError:
        return Broken("no connection can be made", charged=False)
    except httpx.TimeoutException as error:
        reached = not isinstance(error, httpx.ConnectTimeout)
        return Broken(f"the server was silent for too long ({type(error).__name__})", True, reached)
    except (httpx.HTTPError, httpx.StreamError) as error:
        # The message of some errors quotes what was sent, so only its kind is told.
        return Broken(f"the connection broke ({type(error).__name__})")


async def _read(response: httpx.Response) -> Response | Broken:
    if (response.headers.get("content-encoding") or "identity").lower() != "identity":
        return Broken("the response is compressed, which was not asked for", again=False)
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            return Broken(f"the response is longer than {MAX_BODY // 2**20} MB", again=False)
    wait = retry_after(response.headers.get("retry-after"), MAX_WAIT)
    return Response(response.status_code, bytes(body), wait)
