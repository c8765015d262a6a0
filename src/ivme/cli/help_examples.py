"""What stands below the options in `--help`: command lines to start from."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "doctor": ("ivme doctor", "ivme doctor --refresh --output doctor.json"),
    "bench": (
        "ivme bench preset:bert-base --versus pipeline --tokens 32,128",
        "ivme bench MODEL --texts reviews.csv --engine onnxruntime:int8 -o bench.json",
    ),
    "compare": ("ivme compare preset:bert-tiny preset:gpt2-tiny preset:t5-tiny",),
    "tune": (
        "ivme tune MODEL --texts reviews.csv --labels label -o plan",
        "ivme tune preset:bert-base --tokens 128 --budget 120 -o plan",
        "ivme tune MODEL --texts reviews.csv --objective throughput -o plan",
    ),
    "diagnose": (
        "ivme diagnose mm-rec-2m --batch-size 2 --sequence-length 512",
        "ivme diagnose train_step.py --quick -o diagnose.json",
    ),
    "predict": ("ivme predict reviews.csv --plan plan -o answers.jsonl",),
    "serve": (
        "ivme serve plan",
        "ivme serve model --port 0 --workers 2 --api-key-file key.txt",
    ),
    "loadtest": (
        "ivme loadtest http://127.0.0.1:8000 --texts corpus --concurrency 32",
        "ivme loadtest http://127.0.0.1:8000 --texts corpus --rate 50 -o load.json",
    ),
    "report": (
        "ivme report bench.json -o bench.html",
        "ivme report bench.json tune.json -o both.md",
    ),
    "claims": ("ivme claims --quick", "ivme claims --list"),
    "demo": ("ivme demo", "ivme demo --quick --output tour"),
    "ensemble train": (
        "ivme ensemble train -o demo-model",
        'ivme ensemble train --data texts.csv --label-names "0=AI,1=Human" -o model',
        "ivme ensemble train --data texts.csv --members DRF,GBM,GLM -o model",
    ),
    "ensemble compile": (
        "ivme ensemble compile model --data valid.csv -o model-here",
        "ivme ensemble compile model --mojo DRF=drf.zip -o model-with-mojo",
    ),
    "ensemble evaluate": (
        "ivme ensemble evaluate model --data test.csv --domain-column domain",
        "ivme ensemble evaluate model --data test.csv --card -o evaluation.json",
    ),
    "ensemble predict": (
        'ivme ensemble predict model "A text in quotes" --details',
        "ivme ensemble predict model --file texts.csv -o answers.jsonl",
    ),
}


def examples_of(command: str) -> str | None:
    """Return the examples of a command as its help shows them; None if there are none."""
    lines = EXAMPLES.get(command, ())
    if not lines:
        return None
    heading = "Examples:" if len(lines) > 1 else "Example:"
    return "\n".join(("\b", heading, *(f"  {line}" for line in lines)))
