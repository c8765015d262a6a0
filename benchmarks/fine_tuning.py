"""Fine-tunes a small encoder into a classifier, for benchmarks that need trained weights.

    python benchmarks/fine_tuning.py --base FOLDER --train train.tsv --held-out dev.tsv -o FOLDER
    python benchmarks/fine_tuning.py --base FOLDER --corpus -o FOLDER

Files have a text and a label a line, with a tab between. `--corpus` needs none: the built-in
corpus is cut into passages, and the task is to tell which half of it a passage comes from. Of
what is there to train on, 45% is held out beside the file named, because few texts bound a loss
of quality loosely. Writes a model folder, and held_out.csv with the columns text and label.
"""

import argparse
import csv
import random
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ivme.models.corpus import corpus_documents

BATCH_SIZE, EPOCHS, PEAK_RATE, WARMUP_SHARE = 32, 3, 8e-5, 0.1
HELD_OUT_SHARE = 0.45
PASSAGE_WORDS = 40
MOST_TOKENS = 128
Row = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, help="folder of a pretrained encoder")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--corpus", action="store_true", help="in place of files")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = corpus_rows() if arguments.corpus else read_rows(arguments.train)
    random.Random(arguments.seed).shuffle(rows)
    cut = int(len(rows) * (1 - HELD_OUT_SHARE))
    train, held_out = rows[:cut], rows[cut:]
    if arguments.held_out:
        held_out += read_rows(arguments.held_out)
    fine_tune(arguments.base, train, held_out, arguments.output, arguments.epochs, arguments.seed)


def read_rows(path: Path) -> list[Row]:
    """Return text and label of each line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(text, label) for text, _, label in (line.rpartition("\t") for line in lines if line)]


def corpus_rows() -> list[Row]:
    """Return passages of the corpus, labeled with the half that they come from."""
    words = " ".join(corpus_documents()).split()
    passages = [words[at : at + PASSAGE_WORDS] for at in range(0, len(words), PASSAGE_WORDS)]
    half = len(passages) // 2
    return [(" ".join(one), str(int(at >= half))) for at, one in enumerate(passages)][:8000]


def fine_tune(
    base: str, train: list[Row], held_out: list[Row], folder: Path, epochs: int, seed: int
) -> None:
    """Train, say how well it went, and write the model and the texts that it did not see."""
    torch.manual_seed(seed)
    labels = sorted({label for _, label in train})
    tokenizer = AutoTokenizer.from_pretrained(base)
    names = dict(enumerate(labels))
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=len(labels), id2label=names, label2id={v: k for k, v in names.items()}
    )
    steps = epochs * -(-len(train) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    warmup = max(1, int(WARMUP_SHARE * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / (steps - warmup + 1))
    )
    started = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        for batch in batches(train, seed + epoch):
            loss = model(**encode(tokenizer, batch), labels=targets(labels, batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        accuracy = evaluate(model, tokenizer, labels, held_out)
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}: {accuracy:.2%} of {len(held_out)} texts, {seconds:.0f} s")
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with (folder / "held_out.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *held_out])


def batches(rows: list[Row], seed: int) -> list[list[Row]]:
    """Return shuffled batches of texts of like length."""
    chance = random.Random(seed)
    rows = sorted(rows, key=lambda row: len(row[0]) * chance.uniform(0.8, 1.2))
    cut = [rows[at : at + BATCH_SIZE] for at in range(0, len(rows), BATCH_SIZE)]
    chance.shuffle(cut)
    return cut


def encode(tokenizer, batch: list[Row]) -> dict:
    return tokenizer(
        [text for text, _ in batch],
        padding=True,
        truncation=True,
        max_length=MOST_TOKENS,
        return_tensors="pt",
    )


def targets(labels: list[str], batch: list[Row]) -> torch.Tensor:
    return torch.tensor([labels.index(label) for _, label in batch])


@torch.inference_mode()
def evaluate(model, tokenizer, labels: list[str], rows: list[Row]) -> float:
    """Return the share of texts that get their label."""
    model.eval()
    right = 0
    for batch in batches(rows, 0):
        found = model(**encode(tokenizer, batch)).logits.argmax(dim=-1)
        right += int((found == targets(labels, batch)).sum())
    return right / len(rows)


if __name__ == "__main__":
    main()
