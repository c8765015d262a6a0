"""Records as the measuring commands write them, made up: realistic noise, nothing measured."""

import random
from typing import Any

from ivme.measure.records import Comparison, Measurement, Record

MACHINE: dict[str, Any] = {
    "processor": {
        "name": "AMD EPYC 9R45",
        "architecture": "x86_64",
        "usable_cores": 2,
        "instruction_sets": ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"],
        "caches": [
            {"level": 2, "kind": "unified", "size_bytes": 1_048_576, "shared_by": 1},
            {"level": 3, "kind": "unified", "size_bytes": 33_554_432, "shared_by": 2},
        ],
    },
    "memory": {"total_bytes": 25_769_803_776, "limit_bytes": None},
    "accelerators": [],
    "torch": {"blas": "mkl", "has_onednn": True, "threads": 2},
    "environment": {},
}
VERSIONS = {"python": "3.11.2", "ivme": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.23.0"}
CREATED_AT = "2026-11-20T08:49:00+00:00"


def noisy_samples(median_s: float, count: int, seed: int) -> tuple[float, ...]:
    """Return latencies with drift, a long tail and now and then a severe outlier."""
    source, drift, samples = random.Random(seed), 0.0, []
    for _ in range(count):
        drift = 0.9 * drift + source.gauss(0, 0.006)
        spike = source.uniform(0.3, 1.4) if source.random() < 0.04 else 0.0
        samples.append(median_s * (1 + drift + abs(source.gauss(0, 0.015)) + spike))
    return tuple(samples)


def measurement(
    engine: str, batch_size: int, tokens: int, *, dtype: str = "fp32", calls: int = 40
) -> Measurement:
    """Return one configuration of BERT-base."""
    speed = {"transformers": 1.0, "pipeline": 1.09}[engine] * (0.3 if dtype == "bf16" else 1.0)
    median_s = speed * (0.012 + 0.00092 * tokens * batch_size**0.9)
    seed = hash((batch_size, tokens, len(engine), len(dtype))) % 1000
    latency_s = noisy_samples(median_s, calls, seed)
    return Measurement(
        label=f"{engine} · batch {batch_size} · {tokens} tokens",
        configuration={
            "model": "preset:bert-base",
            "engine": engine,
            "kind": "classifier",
            "dtype": dtype,
            "device": "cpu",
            "threads": 2,
            "batch_size": batch_size,
            "tokens": tokens,
            "padding": "longest",
        },
        samples_s={
            "load": (0.84,),
            "first_call": (median_s * 2.7,),
            "latency": latency_s,
            "process_time": tuple(1.87 * seconds for seconds in latency_s),
        },
        items_per_call=batch_size,
        tokens_per_call=batch_size * tokens,
        padded_tokens_per_call=batch_size * tokens,
        floating_point_operations_per_call=1.7e8 * tokens * batch_size,
        processor_utilization=0.93,
        peak_memory_bytes=int(
            4.6e8 + 2.1e5 * tokens * batch_size * (0.6 if dtype == "bf16" else 1)
        ),
        facts={
            "parameters": 109_483_778,
            "ceiling_flops": 2.1e11,
            "weight_bytes": 437_935_112,
            "architecture": "encoder-only",
        },
    )


def comparison(
    variant: str, ratio: float, verdict: str, *, baseline: str = "pipeline", clean: bool = True
) -> Comparison:
    """Return a paired comparison whose blocks scatter around the ratio."""
    source = random.Random(len(variant) + int(ratio * 1000))
    blocks = []
    for _ in range(32):
        base = [0.1 * (1 + abs(source.gauss(0, 0.03))) for _ in range(3)]
        other = [ratio * 0.1 * (1 + abs(source.gauss(0, 0.03))) for _ in range(3)]
        blocks.append({"order": [baseline, variant], "seconds": {baseline: base, variant: other}})
    half = {"undecided": 0.06}.get(verdict, 0.012)
    return Comparison(
        baseline=baseline,
        variant=variant,
        ratio=ratio,
        interval=(ratio * (1 - half), ratio * (1 + half)),
        verdict=verdict,
        equivalence_margin=0.02,
        blocks=tuple(blocks),
        control_interval=(0.996, 1.005) if clean else (1.021, 1.064),
        control_is_clean=clean,
        outliers={baseline: {"mild": 3, "severe": 1}, variant: {"mild": 2, "severe": 0}},
        threads=2,
        stopped_by="width",
    )


def bench_record() -> Record:
    """Return a sweep over batch sizes and lengths, with a configuration that failed."""
    swept = [
        measurement(engine, batch_size, tokens)
        for engine in ("transformers", "pipeline")
        for batch_size in (1, 8, 32)
        for tokens in (32, 128, 512)
    ]
    swept[-1] = Measurement(
        label=swept[-1].label,
        configuration=swept[-1].configuration,
        failure="out of memory: 9.1 GB asked for, 6.2 GB free",
    )
    command = "ivme bench preset:bert-base --engine transformers,pipeline --batch-size 1,8,32"
    return Record(
        kind="bench",
        command=(*command.split(), "--tokens", "32,128,512"),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={"model": "preset:bert-base", "seed": 0, "budget_s": 60.0, "warmup_calls": 3},
        measurements=tuple(swept),
        notes=("The weights are random: speeds are right, answers mean nothing.",),
    )


def versus_record(verdict: str = "faster", ratio: float = 0.925, clean: bool = True) -> Record:
    """Return `ivme bench --versus pipeline`: two measurements and their comparison."""
    return Record(
        kind="bench",
        command=("ivme", "bench", "preset:bert-base", "--versus", "pipeline"),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={"model": "preset:bert-base", "seed": 0},
        measurements=(measurement("transformers", 1, 128), measurement("pipeline", 1, 128)),
        comparisons=(comparison("transformers", ratio, verdict, clean=clean),),
    )


def compare_record() -> Record:
    """Return `ivme compare` of three architectures."""
    kinds = {
        "preset:bert-tiny": ("encoder-only", 4_386_178, 0.0041, "classification, embeddings"),
        "preset:gpt2-tiny": ("decoder-only", 6_600_000, 0.062, "writing text, token by token"),
        "preset:t5-tiny": ("encoder-decoder", 5_100_000, 0.048, "translation, summaries"),
    }
    measurements = tuple(
        Measurement(
            label=name,
            configuration={
                "model": name,
                "engine": "transformers",
                "dtype": "fp32",
                "threads": 2,
                "device": "cpu",
                "batch_size": 8,
            },
            samples_s={
                "load": (0.2,),
                "first_call": (median_s * 3,),
                "latency": noisy_samples(median_s, 60, seed),
            },
            items_per_call=8,
            tokens_per_call=310,
            peak_memory_bytes=60_000_000 + parameters * 5,
            facts={
                "architecture": kind,
                "parameters": parameters,
                "weight_bytes": parameters * 4,
                "good_for": good_for,
            },
        )
        for seed, (name, (kind, parameters, median_s, good_for)) in enumerate(kinds.items())
    )
    return Record(
        kind="compare",
        command=("ivme", "compare", *kinds),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={"models": list(kinds)},
        measurements=measurements,
        comparisons=(
            comparison("preset:gpt2-tiny", 15.1, "slower", baseline="preset:bert-tiny"),
            comparison("preset:t5-tiny", 11.7, "slower", baseline="preset:bert-tiny"),
        ),
        is_complete=False,
    )


def product(path: str, library: str, precision: str, rate: float | None) -> dict[str, Any]:
    """Return the rate of one path to matrix products, or one that cannot run."""
    return {
        "path": path,
        "library": library,
        "precision": precision,
        "device": "cpu",
        "threads": 2,
        "operations_per_s": rate,
        "best_size": 1024 if rate else None,
        "spread": 1.04 if rate else None,
        "unavailable": None if rate else "this processor has no AMX",
    }


CEILINGS = {
    "products": [
        product("torch fp32", "torch", "fp32", 2.1e11),
        product("OpenVINO fp32", "openvino", "fp32", 3.9e11),
        product("torch bf16", "torch", "bf16", 9.2e11),
        product("OpenVINO int8", "openvino", "int8", 1.7e12),
        product("torch AMX", "torch", "bf16", None),
    ],
    "copies": [
        {"level": level, "device": "cpu", "bytes_per_s": rate, "working_set_bytes": size}
        | {"spread": 1.1, "unavailable": None}
        for level, rate, size in (
            ("L2", 1.8e11, 10**6),
            ("L3", 7.5e10, 10**7),
            ("memory", 4.2e10, 10**8),
        )
    ],
}


def doctor_record() -> Record:
    """Return `ivme doctor`: ceilings and advice."""
    advice = [
        {
            "severity": "warning",
            "topic": "threads",
            "finding": "OMP_NUM_THREADS=8, 2 cores usable.",
            "action": "Unset OMP_NUM_THREADS.",
        },
        {
            "severity": "tip",
            "topic": "bf16",
            "finding": "bf16 is 4.4 times as fast as fp32.",
            "action": "Try --dtype bf16.",
        },
    ]
    return Record(
        kind="doctor",
        command=("ivme", "doctor"),
        created_at=CREATED_AT,
        machine={**MACHINE, "ceilings": CEILINGS, "advice": advice},
        versions=VERSIONS,
        settings={"quick": False, "threads": 2},
        notes=(advice[0]["finding"],),
    )


def sweep_versus_record() -> Record:
    """Return `--versus pipeline` over a sweep: one comparison a point."""
    points = [(b, t) for b in (1, 8) for t in (32, 128, 512)]
    ratios = (
        (0.8, "faster"),
        (0.93, "faster"),
        (1.004, "same"),
        (0.99, "undecided"),
        (0.9, "faster"),
        (1.08, "slower"),
    )
    return Record(
        kind="bench",
        command=("ivme", "bench", "preset:bert-base", "--versus", "pipeline"),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={"model": "preset:bert-base"},
        measurements=tuple(
            measurement(engine, b, t) for engine in ("transformers", "pipeline") for b, t in points
        ),
        comparisons=tuple(
            comparison(
                f"transformers · batch {b} · {t} tokens",
                ratio,
                verdict,
                baseline=f"pipeline · batch {b} · {t} tokens",
            )
            for (b, t), (ratio, verdict) in zip(points, ratios, strict=True)
        ),
    )
