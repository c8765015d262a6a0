"""From what a model puts out to predictions, the same way in every engine."""

from typing import TYPE_CHECKING

from ivme.engines.protocol import Prediction
from ivme.errors import WorkloadError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ivme.models.loading import LoadedModel


def reason_for_no_answer(model: "LoadedModel") -> str | None:
    """Return why no engine can answer with this model, or None."""
    if model.kind == "classifier" and model.model.config.problem_type == "regression":
        return f"{model.reference} predicts a number (regression), not a label"
    if model.kind == "masked" and model.tokenizer.mask_token_id is None:
        return f"{model.reference} fills masks, but its tokenizer has no mask token"
    return None


def read(model: "LoadedModel", output: "torch.Tensor") -> list[Prediction]:
    """Return one prediction for each row of `output`, a tensor on the CPU.

    output: classifier [B, labels] and masked [B, vocabulary]: logits; embedding [B, D]: vectors;
    causal and seq2seq [B, new tokens]: token ids.
    """
    if model.kind == "classifier":
        return classify(model, output.numpy())
    if model.kind == "masked":
        words = model.tokenizer.batch_decode(output.argmax(dim=-1, keepdim=True))
        return [Prediction(text=word.strip()) for word in words]
    if model.kind == "embedding":
        return [Prediction(vector=vector) for vector in output.numpy()]
    texts = model.tokenizer.batch_decode(output, skip_special_tokens=True)
    return [Prediction(text=text) for text in texts]


def classify(model: "LoadedModel", logits: "np.ndarray") -> list[Prediction]:
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


def has_independent_labels(model: "LoadedModel") -> bool:
    """Return whether each label is a yes or no of its own: sigmoid instead of softmax."""
    problem = model.model.config.problem_type
    return problem == "multi_label_classification" or len(model.labels) == 1


def mask_positions(
    model: "LoadedModel", token_ids: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return rows [B] and columns [B] of the first mask in each row of token_ids [B, T].

    Raises:
        WorkloadError: a row has none, so that there is nothing to fill.
    """
    import torch

    is_mask = token_ids == model.tokenizer.mask_token_id
    if not bool(is_mask.any(dim=1).all()):
        raise WorkloadError(no_mask(model))
    rows = torch.arange(len(token_ids), device=token_ids.device)
    return rows, is_mask.int().argmax(dim=1)


def no_mask(model: "LoadedModel") -> str:
    """Return the message for a text without a mask."""
    return (
        f"{model.reference} fills masks, and a text has no {model.tokenizer.mask_token} within the "
        "tokens that the model reads; put one in, near the start"
    )
