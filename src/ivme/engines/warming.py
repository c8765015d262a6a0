"""Making a session warm: running the shapes that it will meet before they count."""

from collections.abc import Sequence

from ivme.engines.batching import Batching
from ivme.engines.protocol import Session
from ivme.measure.clock import Clock

SHORT = 16  # tokens


def warm_up(session: Session, batching: Batching, word: str = "the") -> None:
    """Run a batch of one and a full batch at each bucket; without buckets, of a short text.

    word: what texts are made of; for models that fill masks, their mask. Engines compile, allocate
    and choose kernels on the first call of a shape; with buckets there are few shapes, and all of
    them can be met here.
    """
    for length in batching.buckets or (SHORT,):
        text = text_of_tokens(session, length, word)
        for size in sorted({1, batching.texts_at(length)}):
            session.predict([text] * size)


def meet_lengths(
    session: Session, lengths: Sequence[int], *, within_s: float, word: str, clock: Clock
) -> None:
    """Run a text of each length, the longest first, until all are met or the time is over."""
    end_s = clock.now() + within_s
    for length in sorted(lengths, reverse=True):
        if clock.now() > end_s:
            return
        session.predict([text_of_tokens(session, length, word)])


def text_of_tokens(session: Session, tokens: int, word: str = "the") -> str:
    """Return a text of `tokens` tokens, special ones counted, or as near as words come to it."""
    words = tokens
    while words > 1:
        found = session.count_tokens([" ".join([word] * words)])[0]
        if found <= tokens:
            break
        words -= max(1, (found - tokens) * words // found)
    return " ".join([word] * words)
