"""Multi-query associative recall: key-value pairs, then keys whose values are to be said."""

import torch

KEYS, VALUES, PAIRS = 64, 64, 8
VOCABULARY = 1 + KEYS + VALUES  # token 0 is filler
SAID_BEFORE = 2 * PAIRS  # tokens that the pairs take, at the start of each text


def make_texts(generator, batch_size, length, *, distance=0, density=0.5, queries=None):
    """Return token ids and the labels of the queries' values (-100 elsewhere), [B, length].

    The pairs come first, then `distance` tokens of filler, then places for a key and its value. A
    place holds a query with probability `density`; or exactly `queries` places, each another key.
    """
    keys = 1 + torch.rand(batch_size, KEYS, generator=generator).argsort(-1)[:, :PAIRS]
    values = 1 + KEYS + torch.randint(VALUES, keys.shape, generator=generator)
    start = SAID_BEFORE + distance
    places = (length - start) // 2
    if queries is None:
        which = torch.randint(PAIRS, (batch_size, places), generator=generator)
        asked = torch.rand(which.shape, generator=generator) < density
    else:
        order = torch.rand(batch_size, places, generator=generator).argsort(-1)
        which, asked = order.clamp(max=PAIRS - 1), order < queries
    ids = torch.zeros(batch_size, length, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    ids[:, 0:SAID_BEFORE:2], ids[:, 1:SAID_BEFORE:2] = keys, values
    at = start + 2 * torch.arange(places)
    said = values.gather(1, which)
    ids[:, at], ids[:, at + 1] = keys.gather(1, which) * asked, said * asked
    labels[:, at] = said.where(asked, -100)
    return ids, labels


@torch.no_grad()
def accuracy(model, ids, labels, forgets=False):
    """Return the share of values said right; with the memory emptied after the pairs, if asked."""
    model.eval()
    start = model(ids[:, :SAID_BEFORE])
    if forgets:
        for layer in start.state.layers:
            layer.memory.zero_()
    said = model(ids[:, SAID_BEFORE:], state=start.state, chunk_size=512).logits.argmax(-1)
    model.train()
    labels = labels[:, SAID_BEFORE:]
    asked = labels != -100
    return (said[asked] == labels[asked]).float().mean().item()


def held_out(seed, count, length, **settings):
    """Return texts with a query for every pair, [count, length]; training never sees them."""
    generator = torch.Generator().manual_seed(10**6 + seed)
    return make_texts(generator, count, length, queries=PAIRS, **settings)


def train(model, batch, target, texts, most_steps, rate):
    """Train on batches until the accuracy on `texts` is above `target`; return the steps taken.

    Score the model on other texts: these decided when to stop.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    for step in range(1, most_steps + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 30) * max(0.1, 1 - step / 1000)
        ids, labels = batch()
        model(ids, shift_labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 25 == 0 and accuracy(model, *texts) > target:
            return step
    return most_steps
