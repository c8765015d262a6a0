"""Running a server: the socket, signals, and an orderly end."""

import asyncio
import gc
import logging
import socket

from ivme.errors import IvmeError, UsageError
from ivme.serve.configuration import ServeConfig
from ivme.serve.served_model import ServedModel, open_served_model

BACKLOG = 2048

logger = logging.getLogger("ivme.serve")


def run_server(config: ServeConfig) -> None:
    """Serve until a signal says stop; then finish what was accepted.

    Raises:
        UsageError: nothing to serve there, or the address is taken.
        IvmeError: the model cannot be loaded.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    model = open_served_model(config)
    listener = bind(config)
    logger.info("serving %s on %s", config.folder, address_of(listener))
    try:
        if not config.lazy:
            model.start()  # its processes import and load while this one imports
        _serve(config, model, listener)
    finally:
        listener.close()
        model.close()


def bind(config: ServeConfig) -> socket.socket:
    """Return a socket that listens on the host and port.

    Raises:
        UsageError: there is no such host, or the port is taken.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # who comes before the application is there waits for it
    except OSError as error:
        if listener is not None:
            listener.close()
        raise UsageError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror or error}; give "
            "another --host or --port"
        ) from error
    listener.set_inheritable(False)
    return listener


def _serve(config: ServeConfig, model: ServedModel, listener: socket.socket) -> None:
    import uvloop

    from ivme.serve.app import build_app
    from ivme.serve.draining_server import DrainingServer
    from ivme.serve.service import Service

    failures: list[IvmeError] = []

    def fail(error: IvmeError) -> None:
        if not server.should_exit:  # else it fails because it is closed
            failures.append(error)
            server.should_exit = True

    service = Service(config, model, fail)
    app = build_app(config, service)
    server = DrainingServer(config, app)
    warn_if_open(config)

    async def serve() -> None:
        try:
            await server.serve(sockets=[listener])
        finally:
            model.close()  # a thread that waits for it to load would hold up the end of the loop

    gc.freeze()  # else garbage collections walk all modules again and again: 50 ms each
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    if failures:
        raise failures[0]


def warn_if_open(config: ServeConfig) -> None:
    """Say so if other machines can reach the server and no key is asked for."""
    if not config.is_loopback and config.api_key is None:
        logger.warning(
            "%s can be reached from other machines, and no key is asked for: give --api-key-file, "
            "or listen on 127.0.0.1",
            config.host,
        )


def address_of(listener: socket.socket) -> str:
    """Return the address that a socket is reached at, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
