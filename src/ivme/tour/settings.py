"""How long the chapters of the tour may take."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TourSettings:
    """Sizes and seconds of the chapters; what they find is a demo with any of them.

    engines_s: of calls for each configuration that is benched; None leaves the benches out.
    writer_s: of MM-Rec's pretraining. train_texts, valid_texts: of both labels together.
    training_s: for each transformer. search_s: to search for each transformer's plan; None: the
    first of plan_engines that keeps the quality. forest_trees: of each forest. variants: changed
    copies of each text that trees and linear member are trained on. command: that takes this tour.
    """

    command: tuple[str, ...] = ("ivme", "demo")
    engines_s: float | None
    writer_s: float
    train_texts: int
    valid_texts: int
    training_s: float
    search_s: float | None
    plan_engines: tuple[str, ...] = ()
    max_quality_loss: float = 0.02
    forest_trees: int = 100
    variants: int = 0
    seed: int = 0


FULL = TourSettings(
    engines_s=1.0,
    writer_s=40.0,
    train_texts=400,
    valid_texts=200,
    training_s=25.0,
    search_s=30.0,
    variants=1,
)
# One engine that exports soon, and PyTorch where it is lossy.
QUICK = TourSettings(
    command=("ivme", "demo", "--quick"),
    engines_s=None,
    writer_s=18.0,
    train_texts=200,
    valid_texts=100,
    training_s=6.0,
    search_s=None,
    plan_engines=("onnxruntime", "transformers"),
    max_quality_loss=0.03,  # the bound of 100 texts without a loss
    forest_trees=50,
)
