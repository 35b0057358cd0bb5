"""From a node's URL as it is configured to what the adapters of nodes take."""

from chainbell.config.node_url import NodeUrl
from chainbell.nodes.endpoint import Endpoint


def node_endpoint(url: NodeUrl) -> Endpoint:
    """Return the node that a URL names, under the name that may be shown."""
    return Endpoint(name=url.masked, url=url.url, websocket=url.ws, rps=url.rps, cookie=url.cookie, zmq=url.zmq)
