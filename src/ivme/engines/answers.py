"""From what a model puts out to predictions, the same way in every engine."""

from typing import TYPE_CHECKING

from ivme.engines.protocol import Prediction
from ivme.errors import WorkloadError

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel


def reason_for_no_answer(model: "TextModel") -> str | None:
    """Return why no engine can answer with this model, or None."""
    if model.kind == "classifier" and model.problem_type == "regression":
        return f"{model.reference} predicts a number (regression), not a label"
    if model.kind == "masked" and model.tokenizer.mask_token_id is None:
        return f"{model.reference} fills masks, but its tokenizer has no mask token"
    return None


def read(model: "TextModel", output: "np.ndarray") -> list[Prediction]:
    """Return one prediction for each row of `output`.

    output: classifier [B, labels] and masked [B, vocabulary]: logits; embedding [B, D]: vectors;
    causal and seq2seq [B, new tokens]: token ids.
    """
    if model.kind == "classifier":
        return classify(model, output)
    if model.kind == "masked":
        words = model.tokenizer.batch_decode(output.argmax(axis=-1)[:, None])
        return [Prediction(text=word.strip()) for word in words]
    if model.kind == "embedding":
        return [Prediction(vector=vector) for vector in output]
    texts = model.tokenizer.batch_decode(output, skip_special_tokens=True)
    return [Prediction(text=text) for text in texts]


def classify(model: "TextModel", logits: "np.ndarray") -> list[Prediction]:
    """Return label and probabilities for each row of logits [B, labels], float32."""
    import numpy as np

    if has_independent_labels(model):
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
    return [
        Prediction(label=model.labels[int(row.argmax())], probabilities=row)
        for row in probabilities
    ]


def has_independent_labels(model: "TextModel") -> bool:
    """Return whether each label is a yes or no of its own: sigmoid instead of softmax."""
    is_yes_or_no = model.problem_type == "multi_label_classification" or len(model.labels) == 1
    return model.kind == "classifier" and is_yes_or_no


def mask_positions(model: "TextModel", token_ids: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Return rows [B] and columns [B] of the first mask in each row of token_ids [B, T].

    Raises:
        WorkloadError: a row has none, so that there is nothing to fill.
    """
    import numpy as np

    is_mask = token_ids == model.tokenizer.mask_token_id
    if not is_mask.any(axis=1).all():
        raise WorkloadError(no_mask(model))
    return np.arange(len(token_ids)), is_mask.argmax(axis=1)


def no_mask(model: "TextModel") -> str:
    """Return the message for a text without a mask."""
    return (
        f"{model.reference} fills masks, and a text has no {model.tokenizer.mask_token} within the "
        "tokens that the model reads; put one in, near the start"
    )
