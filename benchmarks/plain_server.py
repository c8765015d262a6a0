"""A server as the first version of most services is: Flask, one thread, one request at a time.

    python benchmarks/plain_server.py FOLDER [--original]

Takes `POST /predict` with {"text"} on a free port of 127.0.0.1, which it prints. FOLDER: of a plan
or of an ensemble; its models run as they were tuned. With --original they run as Transformers
loads them instead: float32, PyTorch, one model after the other. The server is the one that Flask's
`app.run(threaded=False)` starts, which closes each connection after its answer; nothing is logged.
"""

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

Answer = Callable[[str], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--original", action="store_true", help="float32 in PyTorch, untuned")
    arguments = parser.parse_args()
    answer = (open_original if arguments.original else open_tuned)(arguments.folder)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> Response:
        return jsonify(answer(request.get_json(force=True)["text"]))

    server = make_server("127.0.0.1", 0, app, threaded=False)  # app.run would not tell the port
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
