"""Memory of encoders in fresh processes: whole ones with their libraries, and single passes."""

import contextlib
from collections.abc import Callable

from claim_experiments.findings import FRESH_RUNS, Findings, Place, exact, fact, saved_memory
from ivme.evidence.needs import no_java
from ivme.hardware.inventory import read_inventory
from ivme.measure.fresh_process import measure_in_fresh_process

FORWARD = "claim_experiments.encoder_memory:forward"
PASS = "claim_experiments.encoder_memory:pass_bytes"
ANSWER = "claim_experiments.encoder_memory:ensemble_answer"


def process_memory(place: Place) -> Findings:
    """Measure a process that loads a model and reads one sentence; on a GPU, its memory."""
    facts = {}
    for name in ("distilbert", "bert-base"):
        case = {"model": place.model(name), "batch_size": 1, "tokens": 32, "device": place.device}
        runs = [measure_in_fresh_process(FORWARD, case) for _ in range(place.size(FRESH_RUNS, 1))]
        facts[f"{name}, bytes"] = fact([float(run.peak_memory_bytes) for run in runs])
        on_gpu = [float(run.cuda_peak_memory_bytes or 0) for run in runs]
        if place.device != "cpu":
            facts[f"{name}, CUDA bytes"] = fact(on_gpu)
    return Findings(facts=facts)


def gradient_memory(place: Place) -> Findings:
    """Compare what a pass that records gradients takes with what one takes that does not."""
    case = {"model": place.model("distilbert"), "batch_size": 8, "tokens": place.size(256, 32)}
    before = {**case, "has_gradients": True}
    return Findings(facts=saved_memory(PASS, before, case, place))


def shorter_text_memory(place: Place) -> Findings:
    """Compare what a pass over a batch of texts takes at 512 tokens and at 256."""
    case = {"model": place.model("bert-base"), "batch_size": 8}
    before, after = ({**case, "tokens": tokens} for tokens in (512, 256))
    return Findings(facts=saved_memory(PASS, before, after, place))


def model_sizes(place: Place) -> Findings:
    """Count the parameters of BERT and RoBERTa, and their bytes in fp32."""
    from ivme.models.loading import load_model

    facts = {}
    for name in ("bert-base", "roberta-base"):
        model = load_model(place.model(name))
        facts[f"{name}, parameters"] = exact(model.parameters)
        facts[f"{name}, bytes"] = exact(model.weight_bytes)
    return Findings(facts=facts)


def whole_ensemble(place: Place) -> Findings:
    """Measure a process that loads BERT, RoBERTa and the tabular members, and answers.

    Where Java is, three models of H2O answer too, and the memory of its process is added.
    """
    lacks = no_java(read_inventory())
    models = [place.model(name) for name in ("bert-base", "roberta-base")]
    has_h2o = lacks is None and not place.is_tiny  # it takes half a minute to start
    case = {"models": models, "has_h2o": has_h2o, "threads": place.threads}
    runs = [measure_in_fresh_process(ANSWER, case) for _ in range(place.size(FRESH_RUNS, 1))]
    note = None if lacks is None else f"without H2O: {lacks}"
    return Findings(
        facts={
            "bytes": fact([float(run.peak_memory_bytes + run.value) for run in runs], note),
            "bytes of H2O": fact([float(run.value) for run in runs]),
        }
    )


def forward(model: str, batch_size: int, tokens: int, device: str = "cpu") -> None:
    """Load a model and read a batch once."""
    _reading(model, batch_size, tokens, device, False)()


def pass_bytes(model: str, batch_size: int, tokens: int, has_gradients: bool = False) -> int:
    """Return the bytes that memory grows by while a loaded model reads a batch."""
    from ivme.measure.memory import PeakMemory

    _reading(model, 1, 8, "cpu", has_gradients)()  # what the first call alone allocates
    read = _reading(model, batch_size, tokens, "cpu", has_gradients)
    with PeakMemory() as peak:
        read()
    return peak.growth_bytes


def _reading(
    model: str, batch_size: int, tokens: int, device: str, has_gradients: bool
) -> Callable[[], object]:
    import torch

    from ivme.models.loading import load_model

    network = load_model(model, dtype="float32", device=device).model
    network.requires_grad_(has_gradients)
    ids = torch.full((batch_size, tokens), 7, device=device)

    def read() -> object:
        with torch.set_grad_enabled(has_gradients):
            return network(input_ids=ids, attention_mask=torch.ones_like(ids))

    return read


def ensemble_answer(models: list[str], has_h2o: bool, threads: int) -> int:
    """Make small tabular members, load the transformers, and score a text with all of them.

    Returns the bytes of H2O's process beside this one.
    """
    import tempfile
    from pathlib import Path

    import psutil
    from ensemble_optimisations import Place as Rows
    from ensemble_optimisations import _ask_all, _h2o_models
    from ensemble_scoring import WORDS, text_of, train_members

    text = text_of(WORDS, 0)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if has_h2o:
            place = Rows(bert=models[0], threads=threads, folder=Path(folder), text=text, texts=())
            h2o_models, frame, _ = stack.enter_context(_h2o_models(place))
            _ask_all(h2o_models, frame())
        train_members(Path(folder, "tabular")).score(text)
        for model in models:
            forward(model, 1, 512)
        children = psutil.Process().children(recursive=True)
        return sum(one.memory_info().rss for one in children)
