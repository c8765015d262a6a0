"""A tokenizer, a model and a pipeline: what a pipeline does, how to bend it, what it costs.

python examples/01_autotokenizer_automodel.py [MODEL]
MODEL: a text classifier, as folder, hub id or preset; preset:bert-tiny unless given.
"""

import sys

import torch
import transformers

from ivme import ComparePlan, compare
from ivme.bench.runs import warm_libraries
from ivme.models.quiet import quiet_libraries
from ivme.models.sources import model_folder
from ivme.report.wording import comparison_sentence

warm_libraries()  # without the log lines of those that Transformers imports
TEXTS = ["Quick and friendly service.", "It broke after two days.", "Would buy it again!"]


class CautiousPipeline(transformers.TextClassificationPipeline):
    """A custom pipeline: it says "unsure" instead of a label that it hardly believes."""

    def postprocess(self, outputs, **options):
        """Return the answer to one text."""
        best = super().postprocess(outputs, **options)
        return best if best["score"] >= 0.9 else {**best, "label": "unsure"}


def main(reference="preset:bert-tiny"):
    with quiet_libraries():
        source = model_folder(reference)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        auto_class = transformers.AutoModelForSequenceClassification
        model = auto_class.from_pretrained(source, dtype=torch.float32)
    ids = tokenizer(TEXTS[0])["input_ids"]
    print("text     ", TEXTS[0])
    print("encoded  ", *tokenizer.convert_ids_to_tokens(ids))
    print("decoded  ", tokenizer.decode(ids, skip_special_tokens=True))

    def by_hand():
        batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            scores, labels = model(**batch).logits.softmax(dim=-1).max(dim=-1)
        names = [model.config.id2label[one] for one in labels.tolist()]
        return [{"label": n, "score": s} for n, s in zip(names, scores.tolist(), strict=True)]

    ready = transformers.pipeline("text-classification", model, tokenizer=tokenizer, device="cpu")
    custom = CautiousPipeline(model=model, tokenizer=tokenizer, device="cpu")
    ways = {"pipeline": lambda: ready(TEXTS, batch_size=3), "by hand": by_hand}
    for name, run in {**ways, "custom": lambda: custom(TEXTS, batch_size=3)}.items():
        print(f"{name:<9}", *("{label} {score:.3f}".format(**answer) for answer in run()))
    for comparison in compare(ways, plan=ComparePlan(budget_s=4)):
        print("\n" + comparison_sentence(comparison), *comparison.notes, sep="\n  ")


if __name__ == "__main__":
    main(*sys.argv[1:])
