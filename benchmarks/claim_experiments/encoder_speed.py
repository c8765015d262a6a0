"""Speed of encoders: devices, gradients, padding, pipelines, batches, int8, ONNX Runtime."""

import contextlib
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from ensemble_scoring import WORDS, text_of

from claim_experiments.findings import (
    Findings,
    Place,
    exact,
    fact,
    in_turns,
    samples_of,
    seconds_of,
)
from ivme.engines.protocol import EngineOptions, Session
from ivme.engines.registry import choose_engine
from ivme.models.corpus import corpus_documents
from ivme.models.loading import LoadedModel, load_model
from ivme.models.synthetic import synthetic_workload

SENTENCE_TOKENS, TEXT_TOKENS, MOST_TOKENS = 64, 128, 512
MIXED_TEXTS = 8
CALLS = 20
LOADS = 8
FIRST_REQUESTS = 2  # fresh processes


def sentence_times(place: Place) -> Findings:
    """Time DistilBERT and BERT on a text of 64 tokens, on the device of the place."""
    facts = {}
    for name in ("distilbert", "bert-base"):
        with _session(place, name) as session:
            texts = _texts(session.model, SENTENCE_TOKENS, 1)
            facts[f"{name}, seconds"] = seconds_of(_asks(session, texts), CALLS)
    return Findings(facts=facts)


def text_times(place: Place) -> Findings:
    """Time BERT and RoBERTa on a text of 512 tokens, on the device of the place."""
    facts = {}
    for name in ("bert-base", "roberta-base"):
        with _session(place, name) as session:
            texts = _texts(session.model, MOST_TOKENS, 1)
            facts[f"{name}, seconds"] = seconds_of(_asks(session, texts), place.size(10, 3))
    return Findings(facts=facts)


def gpu_gain(place: Place) -> Findings:
    """Compare both models on a text of 512 tokens on the processor with the GPU."""
    with contextlib.ExitStack() as stack:
        on = {
            device: [
                stack.enter_context(_session(place, name, device=device))
                for name in ("bert-base", "roberta-base")
            ]
            for device in ("cpu", "cuda")
        }
        texts = _texts(on["cpu"][0].model, MOST_TOKENS, 1)
        ways = {
            name: lambda sessions=on[device]: [one.predict(texts) for one in sessions]
            for name, device in (("processor", "cpu"), ("GPU", "cuda"))
        }
        return Findings(comparisons=in_turns(ways, place))


def gradients(place: Place) -> Findings:
    """Compare a forward pass that records gradients with one under torch.no_grad()."""
    model = _loaded(place, "distilbert")
    network = model.model.requires_grad_(True)
    inputs = model.tokenizer(_texts(model, TEXT_TOKENS, 1), return_tensors="pt")

    def without() -> None:
        with torch.no_grad():
            network(**inputs)

    return Findings(comparisons=in_turns({"gradients": lambda: network(**inputs),
                                          "no_grad": without}, place))  # fmt: skip


def padding(place: Place) -> Findings:
    """Compare texts padded to the model's limit with texts padded to the longest of the batch."""
    texts = _mixed_texts(4)
    with (
        _session(place, "distilbert", pad_to=MOST_TOKENS) as fixed,
        _session(place, "distilbert") as dynamic,
    ):
        ways = {"dynamic": _asks(dynamic, texts), "fixed": _asks(fixed, texts)}
        return Findings(comparisons=in_turns(ways, place))


def pipeline(place: Place) -> Findings:
    """Compare calling the model by hand with the pipeline, on a sentence."""
    with (
        _session(place, "distilbert") as manual,
        _session(place, "distilbert", engine="pipeline") as pipe,
    ):
        texts = _texts(manual.model, SENTENCE_TOKENS, 1)
        ways = {"by hand": _asks(manual, texts), "pipeline": _asks(pipe, texts)}
        return Findings(comparisons=in_turns(ways, place))


def batch_sizes(place: Place) -> Findings:
    """Compare texts one by one with one batch: of mixed lengths, and of equal ones."""
    with _session(place, "distilbert") as session:
        comparisons = []
        for name, texts in (
            ("mixed", _mixed_texts(MIXED_TEXTS)),
            ("equal", _texts(session.model, SENTENCE_TOKENS, MIXED_TEXTS)),
        ):
            ways = {
                f"{name} lengths, one by one": lambda texts=texts: [
                    session.predict([text]) for text in texts
                ],
                f"{name} lengths, one batch": _asks(session, texts),
            }
            comparisons += in_turns(ways, place)
    return Findings(comparisons=comparisons)


def dynamic_int8(place: Place) -> Findings:
    """Compare BERT in fp32 with PyTorch's dynamic int8, in time and in bytes of weights."""
    model = _loaded(place, "bert-base")
    inputs = model.tokenizer(_texts(model, TEXT_TOKENS, 1), return_tensors="pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and what the guide names
        quantized = torch.ao.quantization.quantize_dynamic(
            model.model, {torch.nn.Linear}, dtype=torch.qint8
        )
    ways = {
        "fp32": lambda: model.model(**inputs),
        "dynamic int8": lambda: quantized(**inputs),
    }
    with torch.inference_mode():
        comparisons = in_turns(ways, place)
    before, after = (_weight_bytes(one) for one in (model.model, quantized))
    saved = exact(100 * (1 - after / before))
    return Findings(comparisons=comparisons, facts={"weights, saved_percent": saved})


def onnx_runtime(place: Place) -> Findings:
    """Compare BERT in fp32 in PyTorch with ONNX Runtime."""
    with (
        _session(place, "bert-base") as eager,
        _session(place, "bert-base", engine="onnxruntime:float32") as exported,
    ):
        texts = _texts(eager.model, TEXT_TOKENS, 1)
        ways = {"PyTorch": _asks(eager, texts), "ONNX Runtime": _asks(exported, texts)}
        return Findings(comparisons=in_turns(ways, place))


def shorter_texts(place: Place) -> Findings:
    """Compare a long text of up to 512 tokens with the same one cut to 256."""
    with (
        _session(place, "bert-base") as whole,
        _session(place, "bert-base", max_length=256) as cut,
    ):
        texts = [text_of(2 * WORDS, 0)]
        ways = {"256 tokens": _asks(cut, texts), "512 tokens": _asks(whole, texts)}
        return Findings(comparisons=in_turns(ways, place))


def load_time(place: Place) -> Findings:
    """Time loading DistilBERT again and again, and a text that it reads."""
    reference = place.model("distilbert")
    load_model(reference)  # so that the preset is made, and its files are in memory
    loads_s = [load_model(reference).load_s for _ in range(place.size(LOADS, 2))]
    with _session(place, "distilbert") as session:
        texts = _texts(session.model, SENTENCE_TOKENS, 1)
        answers_s = samples_of(_asks(session, texts), CALLS)
    answer_s = statistics.median(answers_s)
    return Findings(
        facts={
            "load_s": fact(loads_s),
            "answer_s": fact(answers_s),
            "load over answer": fact([one / answer_s for one in loads_s]),
        }
    )


def first_request(place: Place) -> Findings:
    """Time the first and a later text of fresh processes that load BERT and RoBERTa for it."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1].split(chr(10)); "
        "from claim_experiments.first_request import answer; answer(*sys.argv[2:])"
    )
    models = [place.model(name) for name in ("bert-base", "roberta-base")]
    for name in models:
        load_model(name)  # so that presets are made
    first, later = [], []
    for _ in range(place.size(FIRST_REQUESTS, 1)):
        start_s = time.perf_counter()
        command = [sys.executable, "-c", program, "\n".join(sys.path), *models, text_of(WORDS, 0)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        again_s = float(done.stdout.split()[-1])
        first.append(time.perf_counter() - start_s - again_s)
        later.append(again_s)
    ratios = [one / other for one, other in zip(first, later, strict=True)]
    return Findings(
        facts={"first_s": fact(first), "later_s": fact(later), "first over later": fact(ratios)}
    )


def _loaded(place: Place, preset: str, device: str | None = None) -> LoadedModel:
    return load_model(place.model(preset), dtype="float32", device=device or place.device)


@contextlib.contextmanager
def _session(
    place: Place,
    preset: str,
    *,
    engine: str = "transformers:float32",
    device: str | None = None,
    max_length: int | None = None,
    pad_to: int | None = None,
) -> Iterator[Session]:
    chosen, precision = choose_engine(engine)
    options = EngineOptions(
        threads=place.threads, precision=precision, max_length=max_length, pad_to=pad_to
    )
    with contextlib.closing(chosen.prepare(_loaded(place, preset, device), options)) as session:
        yield session


def _asks(session: Session, texts: Sequence[str]) -> Callable[[], object]:
    return lambda: session.predict(texts)


def _texts(model: LoadedModel, tokens: int, count: int) -> list[str]:
    return list(synthetic_workload(model.tokenizer, tokens=tokens, count=count).texts)


def _mixed_texts(count: int) -> list[str]:
    """Return texts of the corpus of 10 to 250 words, a few of them long."""
    draw = random.Random(0)
    assert corpus_documents()
    words = [min(250, round(draw.lognormvariate(3.5, 0.9)) + 10) for _ in range(count)]
    return [text_of(count, seed) for seed, count in enumerate(words)]


def _weight_bytes(network: torch.nn.Module) -> int:
    """Return the bytes of the weights; quantized layers keep theirs behind methods."""
    total = 0
    for module in network.modules():
        tensors = list(module.parameters(recurse=False))
        if callable(getattr(module, "weight", None)):
            tensors += [one for one in (module.weight(), module.bias()) if one is not None]
        total += sum(one.numel() * one.element_size() for one in tensors)
    return total
