"""`ivme serve`: a plan or an ensemble behind HTTP."""

from pathlib import Path
from typing import Annotated

import typer

KEY_VARIABLE = "IVME_API_KEY"


def serve(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="What `ivme tune -o` or `ivme ensemble train -o` wrote.",
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes for each model; each holds a copy.")
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of each process of a plan, which has its own number unless given; of each copy "
            "of an ensemble, whose transformers share them.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Of an ensemble: cpu, cuda; auto: the fastest.")] = (
        "auto"
    ),
    max_queue: Annotated[int, typer.Option(min=1, help="Texts that may wait.")] = 256,
    max_batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens that run together, padding counted.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 30.0,
    max_characters: Annotated[int, typer.Option(min=1, help="Of one text.")] = 100_000,
    max_body_bytes: Annotated[int, typer.Option(min=256, help="Of one request.")] = 2 * 2**20,
    max_connections: Annotated[int, typer.Option(min=1, help="Open at a time.")] = 1000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar=KEY_VARIABLE,
            help="Ask clients for this key; a file or the variable keeps it out of `ps`.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask for the key in this file.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let pages of this origin ask; may be repeated."),
    ] = None,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Load the model at the first request.")
    ] = False,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Write texts and answers to the log.")
    ] = False,
    cache_size: Annotated[
        int, typer.Option(min=0, help="Answers that are remembered; 0: none.")
    ] = 10_000,
    stop_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds for accepted requests after SIGTERM.")
    ] = 30.0,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help='On Ray Serve: "local", "auto" or HOST:PORT; --workers are its replicas.',
        ),
    ] = None,
) -> None:
    """Serve a tuned model or an ensemble over HTTP, with a page at /.

    Texts of many requests run together; one alone never waits. What is too much is refused at
    once: 413, 422, 429 or 503, with the time to try again.
    """
    from ivme.serve.configuration import ServeConfig
    from ivme.serve.server import run_server

    config = ServeConfig(
        folder=folder,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        device=device,
        max_queue=max_queue,
        max_batch_tokens=max_batch_tokens,
        timeout_s=timeout,
        max_characters=max_characters,
        max_body_bytes=max_body_bytes,
        max_connections=max_connections,
        api_key=read_key(api_key, api_key_file),
        cors_origins=tuple(cors or ()),
        lazy=lazy,
        log_texts=log_texts,
        cache_size=cache_size,
        stop_timeout_s=stop_timeout,
    )
    if ray is not None:
        from ivme.serve.ray_app import serve_on_ray

        serve_on_ray(config, ray)
    else:
        run_server(config)


def read_key(key: str | None, file: Path | None) -> str | None:
    """Return the API key, from the file if one is named; None: no key is asked for.

    Raises:
        UsageError: the file cannot be read, or is empty.
    """
    from ivme.errors import UsageError

    if file is None:
        return key or None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the API key from {file}: {error}") from error
    if not found:
        raise UsageError(f"{file} is empty; write the API key into it")
    return found
