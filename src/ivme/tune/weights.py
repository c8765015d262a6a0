"""Whether a model has learned anything: on random weights, quality means nothing."""

from typing import TYPE_CHECKING

from ivme.models.presets import MARKER

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel


def has_random_weights(model: "LoadedModel") -> bool:
    """Return whether the model is a preset, or was initialized and never trained.

    Training moves every vector of a network (biases, gains of norms); initialization leaves all
    of them at 0 or 1.
    """
    if (model.folder / MARKER).is_file():
        return True
    vectors = [weight for weight in model.model.parameters() if weight.ndim == 1]
    return bool(vectors) and all(
        float(vector[0]) in (0.0, 1.0) and bool((vector == vector[0]).all()) for vector in vectors
    )
