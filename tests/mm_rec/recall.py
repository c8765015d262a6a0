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
