"""What a server counts, for Prometheus: queue, batches, latency by stage, cache, members."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ivme.serve.batcher import BatchReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ivme.serve.served_model import ServedModel

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 1024, 4096, 16384, 65536)
STAGES = ("read", "queue", "model", "total")


class Metrics:
    """One server's counts, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # a time beside each count, which nobody asks for
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = Counter(
            "ivme_requests",
            "Requests, by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.refusals = Counter(
            "ivme_refusals", "Requests refused, by reason.", ("reason",), registry=self.registry
        )
        self.batch_texts = Histogram(
            "ivme_batch_texts", "Texts of a batch.", buckets=TEXTS, registry=self.registry
        )
        self.batch_tokens = Histogram(
            "ivme_batch_tokens",
            "Tokens of a batch as estimated, padding counted.",
            buckets=TOKENS,
            registry=self.registry,
        )
        self.cache_hits = Counter(
            "ivme_cache_hits", "Texts answered from memory.", registry=self.registry
        )
        self.cache_misses = Counter(
            "ivme_cache_misses", "Texts that no answer was remembered of.", registry=self.registry
        )
        latency = Histogram(
            "ivme_latency_seconds",
            "Seconds in each stage: read (the body), queue (a text), model (a batch, with its wait "
            "for a process that is free), total (a request).",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.latency = {stage: latency.labels(stage) for stage in STAGES}

    def count_batch(self, report: BatchReport) -> None:
        """Count a batch that has run; a text that was answered in parts is one of its own."""
        self.batch_texts.observe(report.texts)
        self.batch_tokens.observe(report.tokens)
        for waited_s in report.waited_s:
            self.latency["queue"].observe(waited_s)
        self.latency["model"].observe(report.run_s)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def watch_model(self, model: "ServedModel") -> None:
        """Add the tokens it read, and which of its members are down."""
        self.registry.register(_ModelState(model))

    def as_text(self) -> bytes:
        """Return all in Prometheus's text format."""
        return generate_latest(self.registry)


class _ModelState(Collector):
    """What a model says of itself, read when it is asked for."""

    def __init__(self, model: "ServedModel") -> None:
        self._model = model

    def collect(self) -> "Iterator[Metric]":
        yield CounterMetricFamily(
            "ivme_tokens",
            "Tokens that the model read; of an ensemble, as estimated from bytes.",
            value=self._model.tokens_read,
        )
        down = GaugeMetricFamily(
            "ivme_member_down", "1 while the member cannot answer.", labels=["member"]
        )
        again = CounterMetricFamily(
            "ivme_member_restarts", "How often it was started again.", labels=["member"]
        )
        members_down = self._model.members_down()
        for name, count in self._model.member_restarts().items():
            down.add_metric([name], float(name in members_down))
            again.add_metric([name], count)
        yield down
        yield again
