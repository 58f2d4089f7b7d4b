"""kopf's session: it asks for metadata where there is any, and an empty list is a list."""

import itertools
import logging

import kopf
import pytest
import yaml
from aiohttp import web

from mpj_operator.handlers import kopf_settings, registry
from mpj_operator.shell.inbox import Doorstep
from mpj_operator.shell.kube.login import Growing, Login, by_proxy

CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
    "users": [{"name": "u", "user": {"token": "secret"}}],
}
LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
ONE = LIST.replace("MetadataList", "Metadata")


async def ours():
    """Log in as kopf lets a handler do it."""
    return await Login()(logger=logging.getLogger(), settings=kopf.OperatorSettings())


@pytest.fixture
async def server(tmp_path, monkeypatch):
    """Run a server that notes what it is asked; return its notes."""
    notes = []

    async def answer(request: web.Request) -> web.Response:
        notes.append((request.headers["Accept"], request.headers["Authorization"]))
        return web.json_response({"kind": "PartialObjectMetadataList", "items": None})

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    clusters = [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
    config = tmp_path / "config"
    config.write_text(yaml.safe_dump({**CONFIG, "clusters": clusters}))
    monkeypatch.setenv("KUBECONFIG", str(config))
    yield notes
    await runner.cleanup()


@pytest.mark.parametrize(("query", "accepted"), [("", LIST), ("?watch=true", ONE)])
async def test_metadata_is_asked_for_with_the_accounts_token(server, query, accepted):
    found = await ours()
    assert isinstance(found, kopf.AiohttpSession)
    assert found.default_namespace == "n"
    async with found.aiohttp_session as session:
        await session.get(f"{found.server}/api/v1/pods{query}")
    assert server == [(accepted, "Bearer secret")]


async def test_an_empty_list_of_partial_objects_is_a_list(server):
    found = await ours()
    async with found.aiohttp_session as session:
        response = await session.get(f"{found.server}/api/v1/pods")
        assert await response.json() == {"kind": "PartialObjectMetadataList", "items": []}


async def test_without_credentials_there_is_no_session(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await ours() is None


async def test_refused_credentials_are_tried_again_ever_more_slowly(server, monkeypatch, tmp_path):
    slept, now = [], [0.0]

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("mpj_operator.shell.kube.login.asyncio.sleep", sleep)
    login = Login(lambda: now[0])

    async def again():
        found = await login(logger=logging.getLogger(), settings=kopf.OperatorSettings())
        await found.aiohttp_session.close()
        return found

    for _ in range(3):
        await again()
    assert slept == [0.5, 1.0]
    now[0] = 61.0  # an accident an hour later
    await again()
    assert slept == [0.5, 1.0]
    await again()
    assert slept == [0.5, 1.0, 0.5]
    config = tmp_path / "config"
    config.write_text(config.read_text().replace("secret", "fresh"))
    await again()  # a token that was renewed is tried at once
    assert len(slept) == 3


def test_delays_grow_and_never_end():
    assert list(itertools.islice(Growing(), 9)) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_kopf_takes_the_handlers():
    registry(Doorstep(None, None))


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, True),
        ({"HTTPS_PROXY": "http://proxy:3128", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}, False),
    ],
    ids=["none", "outside", "in a pod"],
)
def test_a_proxy_stands_before_clusters_of_elsewhere_only(monkeypatch, given, used):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert by_proxy() == used
    assert kopf_settings().networking.trust_env == used
