"""Short texts of two or three made-up styles, easy to tell apart, but not without mistakes."""

import numpy as np

WORDS = {
    "human": ("well", "honestly", "dunno", "maybe", "stuff", "gonna", "kinda", "anyway"),
    "machine": ("moreover", "crucial", "delve", "landscape", "tapestry", "ensure", "robust"),
    "other": ("ve", "bir", "bu", "da", "çok", "için", "gibi", "daha", "ama", "değil"),
}
COMMON = ("the", "of", "and", "to", "in", "is", "it", "that", "for", "on", "as", "with", "was")


def styled_texts(count: int, names: tuple[str, ...], seed: int = 0) -> tuple[list[str], list[str]]:
    """Return texts and their labels; one label in ten is wrong."""
    draw = np.random.RandomState(seed)
    texts, labels = [], []
    for _ in range(count):
        name = names[draw.randint(len(names))]
        words = draw.choice(COMMON + WORDS[name] * 2, 5 + draw.randint(25))
        texts.append(" ".join(words))
        labels.append(name if draw.rand() < 0.9 else names[draw.randint(len(names))])
    return texts, labels
