"""How kopf reaches the API server: it is told the metadata of what it watches, and no more.

Handlers only look at metadata, and an object with its requests is twenty times as large: the rest
need not be encoded, sent and parsed for every event of every pod.
"""

from typing import Any

import aiohttp
import kopf

from mpj_operator.shell.kube.api import METADATA

_LIST, _ONE = "PartialObjectMetadataList", "PartialObjectMetadata"


class _Response(aiohttp.ClientResponse):
    """An answer; an empty list of partial objects comes without a list, which kopf expects."""

    async def json(self, **given: Any) -> Any:  # noqa: ANN401 - aiohttp's own
        """Return the body, parsed."""
        said = await super().json(**given)
        if isinstance(said, dict) and said.get("items", ()) is None:
            said["items"] = []
        return said


async def login(**given: Any) -> kopf.AiohttpSession | None:  # noqa: ANN401 - kopf's own
    """Return a session with the credentials of the pod, else of the kubeconfig; None: neither."""
    found = kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)
    if found is None:
        return None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
        headers=found.as_http_headers(),
        proxy=found.proxy_url,
        trust_env=found.trust_env,
        middlewares=(_ask_for_metadata,),
        response_class=_Response,
    )
    return kopf.AiohttpSession(
        server=found.server,
        default_namespace=found.default_namespace,
        expiration=found.expiration,
        aiohttp_session=session,
    )


async def _ask_for_metadata(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Ask for partial objects; what has none, such as the list of resources, comes as it is."""
    kind = _ONE if request.url.query.get("watch") else _LIST
    request.headers["Accept"] = METADATA.format(kind=kind)
    return await handler(request)
