"""Whether a learning rate that falls where the loss stalls ends at a lower loss."""

from concurrent.futures import ThreadPoolExecutor

import torch
from ablations import BATCH_SIZE, LENGTH, TEXT_MODEL, VALIDATION_CHARACTERS, character_ids
from torch import Tensor

from claim_experiments.findings import Findings, Place, fact
from ivme.measure.fresh_process import measure_in_fresh_process
from ivme.models.corpus import corpus_text
from mm_rec import MMRecConfig, MMRecForCausalLM
from mm_rec.core.adaptive_learning import AdaptiveLearningRateScheduler
from mm_rec.training.schedule import make_schedule

PEAK_RATE = 3e-3
STEPS, EVALUATIONS = 150, 15
SEEDS = 3
STALL_CHARACTERS = 64 * LENGTH + 1  # of the validation text, to see whether the loss stalls


def adaptive_rate(place: Place) -> Findings:
    """Compare final losses of cosine alone and with the adaptive scheduler, as the report adds it.

    Both see the same weights and batches, each in a process of its own; a figure is of one seed.
    """
    size = {"steps": place.size(STEPS, 20), "seeds": place.size(SEEDS, 2)}
    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = pool.map(
            lambda is_adaptive: measure_in_fresh_process(
                "claim_experiments.learning:final_losses", {**size, "is_adaptive": is_adaptive}
            ),
            (False, True),
        )
        cosine, adaptive = (run.value for run in runs)
    lowered = [100 * (1 - after / before) for before, after in zip(cosine, adaptive, strict=True)]
    return Findings(facts={"loss, lowered_percent": fact(lowered)})


def final_losses(steps: int, seeds: int, *, is_adaptive: bool) -> list[float]:
    """Return the validation loss of each seed after so many steps."""
    torch.set_num_threads(1)  # sums in one order: a rerun gives the same losses
    ids = character_ids(corpus_text(2_000_000))
    return [_final_loss(ids, steps, seed, is_adaptive=is_adaptive) for seed in range(seeds)]


def _final_loss(ids: Tensor, steps: int, seed: int, *, is_adaptive: bool) -> float:
    torch.manual_seed(seed)
    model = MMRecForCausalLM(MMRecConfig(vocab_size=int(ids.max()) + 1, **TEXT_MODEL))
    training, validation = ids[:-VALIDATION_CHARACTERS], ids[-VALIDATION_CHARACTERS:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, fused=True)
    share = make_schedule("cosine", steps // 10, steps, 0.05)
    adaptive = AdaptiveLearningRateScheduler(optimizer, patience=2, factor=0.5)
    generator = torch.Generator().manual_seed(seed)
    lowered = 1.0  # by the adaptive scheduler, on top of the cosine
    for step in range(steps):
        starts = torch.randint(len(training) - LENGTH, (BATCH_SIZE, 1), generator=generator)
        texts = training[starts + torch.arange(LENGTH + 1)]
        rate = PEAK_RATE * share(step) * lowered
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(texts[:, :-1], shift_labels=texts[:, 1:]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if is_adaptive and step % max(1, steps // EVALUATIONS) == 0:
            seen = _validation_loss(model, validation[:STALL_CHARACTERS])
            if adaptive.step(seen, step):
                lowered *= adaptive.factor
    return _validation_loss(model, validation)


@torch.no_grad()
def _validation_loss(model: MMRecForCausalLM, ids: Tensor) -> float:
    """Return the mean loss over texts that start from nothing; the last batch may be smaller."""
    model.eval()
    count = (len(ids) - 1) // LENGTH * LENGTH
    texts, labels = ids[:count].view(-1, LENGTH), ids[1 : count + 1].view(-1, LENGTH)
    batches = zip(texts.split(64), labels.split(64), strict=True)
    losses = [float(model(t, shift_labels=s).loss) * len(t) for t, s in batches]
    model.train()
    return sum(losses) / len(texts)
