"""The probes' port: the kubelet asks by IPv4 or IPv6, as the cluster has it."""

import socket

import aiohttp
import pytest

from mpj_operator.shell.health import serving
from mpj_operator.shell.metrics import Metrics

HOSTS = ["127.0.0.1", *(["[::1]"] if socket.has_dualstack_ipv6() else [])]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("age", "status"), [(0.0, 200), (301.0, 500)])
async def test_the_operator_answers_on_every_address(host, age, status):
    async with (
        serving(0, Metrics(), watch_age=lambda: age, ready=lambda: True) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/healthz") as answer,
    ):
        assert answer.status == status
