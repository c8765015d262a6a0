"""A server as the first version of most services is: one thread, one request at a time.

    python benchmarks/plain_server.py FOLDER [--original]

Takes `POST` with {"text"} on a free port of 127.0.0.1, which it prints. FOLDER: of a plan or of an
ensemble; its models run as they were tuned. With --original they run as Transformers loads them
instead: float32, PyTorch, one model after the other. What is beside the models is the least that
HTTP takes, on the standard library, so that they are what is compared.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

Answer = Callable[[str], Any]


class Handler(WSGIRequestHandler):
    """Connections stay open, and nothing is logged."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--original", action="store_true", help="float32 in PyTorch, untuned")
    arguments = parser.parse_args()
    answer = (open_original if arguments.original else open_tuned)(arguments.folder)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        content = json.dumps(answer(json.loads(body)["text"])).encode()
        length = ("Content-Length", str(len(content)))
        start("200 OK", [length, ("Content-Type", "application/json")])
        return [content]

    server = make_server("127.0.0.1", 0, application, handler_class=Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def open_tuned(folder: Path) -> Answer:
    """Return what answers a text by the folder's own predictor, without its cache."""
    if is_plan(folder):
        from ivme.tune.plan import load_plan

        plan = load_plan(folder)
        return lambda text: plan(text).label
    from ivme.ensemble import Predictor

    predictor = Predictor.load(folder, cache_size=0)
    predictor.initialize()
    return predictor.predict_all


def open_original(folder: Path) -> Answer:
    """Return what answers a text by the folder's models as they were before they were tuned."""
    if is_plan(folder):
        return open_transformer(folder)
    from ivme.ensemble.tabular import TabularMembers

    plans = [path.parent for path in sorted(folder.glob("*/plan.json"))]
    transformers = {path.name: open_transformer(path) for path in plans}
    tabular = TabularMembers.load(folder / "tabular")

    def answer(text: str) -> dict[str, Any]:
        scores = {name: one(text) for name, one in transformers.items()}
        return scores | {name: list(map(float, one)) for name, one in tabular.score(text).items()}

    return answer


def open_transformer(plan: Path) -> Answer:
    """Return what gives a text's probabilities by the model that a plan was made of."""
    import torch

    from ivme.models.loading import load_model

    kept = plan.parent / "weights" / plan.name
    reference = (
        str(kept) if kept.is_dir() else json.loads((plan / "plan.json").read_text())["reference"]
    )
    model = load_model(reference, dtype="float32", device="cpu")

    def answer(text: str) -> list[float]:
        inputs = model.tokenizer(
            text, return_tensors="pt", truncation=True, max_length=model.max_length
        )
        with torch.inference_mode():
            logits = model.model(**inputs).logits
        return logits.softmax(-1)[0].tolist()

    return answer


def is_plan(folder: Path) -> bool:
    return (folder / "plan.json").is_file()


if __name__ == "__main__":
    main()
