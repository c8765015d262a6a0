"""A fresh process that loads two classifiers when the first text comes, as a server does."""

import time


def answer(bert: str, roberta: str, text: str) -> None:
    """Load both models, classify the text twice, and print the seconds of the second time."""
    import torch

    from ivme.models.loading import load_model

    models = [load_model(name, dtype="float32", device="cpu") for name in (bert, roberta)]

    def classify() -> None:
        with torch.inference_mode():
            for one in models:
                inputs = one.tokenizer(
                    text, return_tensors="pt", truncation=True, max_length=one.max_length
                )
                one.model(**inputs)

    classify()
    start_s = time.perf_counter()
    classify()
    print(time.perf_counter() - start_s)
