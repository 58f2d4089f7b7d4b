"""``python -m mpj_operator``: the operator's container."""

import asyncio
import logging
import os
import signal
import sys

from mpj_operator import __version__
from mpj_operator.serve import serve
from mpj_operator.settings import OperatorSettings, read_settings
from mpj_runner.contract.errors import UserError


def main() -> None:
    """Read the environment, serve until SIGTERM."""
    try:
        settings = read_settings(os.environ)
    except UserError as error:
        sys.exit(str(error))
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stdout,
    )
    # kopf tells of every object that it sees.
    for chatty in ("kopf", "kubernetes", "aiohttp"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.root.level))
    asyncio.run(_until_told(settings))


async def _until_told(settings: OperatorSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sent in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sent, stop.set)
    await serve(settings, __version__, stop, listening=_say, lost=_end_at_once)


def _say(port: int) -> None:
    logging.getLogger(__name__).info("serving on port %s", port)


def _end_at_once() -> None:
    """Leave no time for work that another operator may be doing by now: not even to clean up."""
    logging.getLogger(__name__).error("the lease is lost: this process ends at once")
    os._exit(1)


if __name__ == "__main__":
    main()
