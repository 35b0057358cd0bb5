"""One call of a development node in plain JSON-RPC over HTTP."""

from typing import Any

import aiohttp

from chainbell.demo.errors import DemoError

_ANSWER_SECONDS = 30.0


async def call(  # noqa: PLR0913 - whom, what, and on whose behalf
    session: aiohttp.ClientSession,
    node: str,
    url: str,
    method: str,
    params: object,
    auth: aiohttp.BasicAuth | None = None,
) -> Any:  # noqa: ANN401 - what a node answers is any JSON
    """Call the node, which messages call `node`, and return its `result`.

    Raises `DemoError` with what it answered instead.
    """
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    try:
        async with session.post(url, json=request, timeout=timeout, auth=auth) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        message = f"{node} does not answer {method} ({str(error) or 'timeout'}): start the demo again"
        raise DemoError(message) from error
    if not isinstance(answer, dict) or "result" not in answer or answer.get("error") is not None:
        said = answer.get("error") if isinstance(answer, dict) else answer
        message = f"{node} refused {method}: {said}"
        raise DemoError(message)
    return answer["result"]
