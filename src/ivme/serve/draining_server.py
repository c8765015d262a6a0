"""uvicorn with an end in order."""

import asyncio
import logging
import signal
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from ivme.serve.bounded_protocol import BoundedProtocol
from ivme.serve.configuration import ServeConfig

KEEP_ALIVE_S = 30

logger = logging.getLogger("ivme.serve")


class DrainingServer(uvicorn.Server):
    """A server that finishes what it accepted after a first SIGTERM or SIGINT; a second ends it."""

    def __init__(self, config: ServeConfig, app: FastAPI) -> None:
        door = None if config.cors_origins else app.state.door
        settings = {"max_connections": config.max_connections, "door": door}
        protocol = type("Protocol", (BoundedProtocol,), settings)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks who the client is
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
                lifespan="on",
            )
        )
        self._stop_timeout_s = config.stop_timeout_s
        self._lifecycle = app.state.lifecycle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: Any = None) -> None:
        """Serve until the end."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; at the second signal, stop."""
        if self._draining is not None or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self._loop.call_soon_threadsafe(self._begin_to_stop, signal.Signals(sig).name)

    def _begin_to_stop(self, name: str) -> None:
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain(name))

    async def _drain(self, name: str) -> None:
        count = self._lifecycle.in_flight
        logger.info("%s: stopping; %d requests under way may finish", name, count)
        if not await self._lifecycle.drain(self._stop_timeout_s):
            logger.warning(
                "%d requests were cut off after %g s",
                self._lifecycle.in_flight,
                self._stop_timeout_s,
            )
        self.should_exit = True
