"""UBOO, the planning loss: a block predicts its next state from the one before."""

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from mm_rec.configuration import MMRecConfig
from mm_rec.core.linear import Linear


class PlanningLoss(nn.Module):
    """Squared distance between a prediction of the next state and that state, both projected.

    Only the prediction learns. The projection of the state has no gradient at all and stays as it
    was initialized: a fixed random view, which the prediction cannot make trivial.
    """

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__()
        width = config.model_dim
        self.W_target = Linear(width, width)
        self.W_error = Linear(width, width).requires_grad_(False)

    def planning_error(self, previous: Tensor, hidden: Tensor) -> Tensor:
        """Return LN(W_target h[t-1]) - stopgrad(LN(W_error h[t])), [B, T, D]."""
        width = (hidden.shape[-1],)
        predicted = layer_norm(self.W_target(previous), width)
        actual = layer_norm(self.W_error(hidden.detach()), width)
        return predicted - actual.detach()

    def forward(self, previous: Tensor, hidden: Tensor, is_padding: Tensor | None) -> Tensor:
        """Return the sum over B and T of |planning_error|^2; padding counts nothing.

        previous, hidden: [B, T, D], states before and after each token; is_padding: [B, T] or None.
        """
        squared = self.planning_error(previous, hidden).square().sum(-1)
        if is_padding is not None:
            squared = squared.masked_fill(is_padding, 0)
        return squared.sum()
