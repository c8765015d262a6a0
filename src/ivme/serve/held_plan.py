"""A plan in a process of its own: texts in, predictions out, each text's errors its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ivme.engines.protocol import Prediction
from ivme.engines.streaming import TextPieces, tokens_heard
from ivme.errors import IvmeError
from ivme.measure.clock import SystemClock
from ivme.models.kinds import GENERATING
from ivme.serve.channel import Channel, ChannelClosed, Message
from ivme.serve.member_process import tell_error
from ivme.serve.served_model import BATCH_SIZE, WARM_UP_S
from ivme.serve.supervision import told_error
from ivme.tune.predictor import Predictor

WARM_TEXT = "the"
LONG_TEXT = 512 * " the"  # more tokens than most encoders read


class _StoppedError(Exception):
    """Nobody wants the rest of a generated text."""


class HeldPlan:
    """A plan's model, answering batches; errors are told text by text."""

    def __init__(self, predictor: Predictor, max_batch_tokens: int) -> None:
        self.predictor = predictor
        self.max_batch_tokens = max_batch_tokens
        self._predict = predictor.batched(batch_size=BATCH_SIZE, max_batch_tokens=max_batch_tokens)

    @classmethod
    def load(cls, opening: Mapping[str, Any]) -> "HeldPlan":
        """Return the plan that an opening message names, warm."""
        from ivme.tune.plan import load_plan

        predictor = load_plan(Path(opening["folder"]), threads=opening["threads"])
        held = cls(predictor, opening["max_batch_tokens"])
        held.warm_up()
        return held

    def warm_up(self) -> None:
        """Meet what engines prepare for, so that the first request finds everything in place."""
        keeps_to_few = self.predictor.keep_to_few_shapes(within_s=WARM_UP_S)
        mask = self._model.tokenizer.mask_token if self.predictor.plan.kind == "masked" else None
        word = mask or WARM_TEXT
        self.predictor(word)
        if not keeps_to_few and self.predictor.plan.kind not in GENERATING:
            self._meet_largest_batch(word + LONG_TEXT)

    def _meet_largest_batch(self, long_text: str) -> None:
        """Fill a batch if that is quick: then memory is as large as it will ever be."""
        clock = SystemClock()
        start_s = clock.now()
        self.predictor(long_text)
        copies = self.max_batch_tokens // max(self.predictor.count_tokens([long_text]))
        if copies > 1 and copies * (clock.now() - start_s) <= WARM_UP_S:
            self._predict(copies * [long_text])

    def describe(self) -> Mapping[str, Any]:
        """Return labels, limits and remarks."""
        return {
            "labels": list(self.predictor.labels),
            "precision": self.predictor.precision,
            "notes": list(self.predictor.notes),
        }

    def answer(self, message: Message, channel: Channel) -> None:
        """Send predictions; with "stream", the pieces of one text before them."""
        if message.content.get("stop"):  # of a stream that had ended by itself
            return
        texts = message.content["texts"]
        tokens = sum(self.predictor.count_tokens(texts))  # first: running remembers what it read
        if not message.content.get("stream"):
            channel.send(*pack_answers(self._answer_each(texts), tokens))
            return
        try:
            answers = self._stream(texts, channel)
        except _StoppedError:
            answers = [IvmeError("stopped")]
        channel.send(*pack_answers(answers, tokens))

    @property
    def _model(self) -> Any:
        return self.predictor.session.sessions[0].model  # type: ignore[attr-defined]  # all have it

    def _stream(self, texts: Sequence[str], channel: Channel) -> list[Prediction | IvmeError]:
        """Return the answer to the only text after sending its pieces.

        Raises:
            _StoppedError: the server said that nobody wants the rest.
        """
        pieces = TextPieces(self._model)

        def send(piece: str) -> None:
            if piece:
                channel.send({"piece": piece})

        def tell(token: int) -> None:
            send(pieces.add(token))
            if channel.is_pending():
                channel.receive()
                raise _StoppedError

        with tokens_heard(tell):
            answers = self._answer_each(texts)
        if isinstance(answers[0], Prediction):
            send(pieces.rest(answers[0].text or ""))
        return answers

    def _answer_each(self, texts: Sequence[str]) -> list[Prediction | IvmeError]:
        """Return a prediction or an error for each text; one bad text spoils no other."""
        try:
            return list(self._predict(texts))
        except (_StoppedError, ChannelClosed):
            raise
        except Exception as error:
            if len(texts) == 1:
                return [told_error(tell_error(error))]
        half = len(texts) // 2
        return self._answer_each(texts[:half]) + self._answer_each(texts[half:])


def pack_answers(
    answers: Sequence[Prediction | IvmeError], tokens: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the answers as a message's content and arrays; see unpack_answers."""
    good = [one for one in answers if isinstance(one, Prediction)]
    content = {
        "tokens": tokens,
        "labels": [one.label for one in good],
        "texts": [one.text for one in good],
        "errors": {
            str(at): tell_error(one) for at, one in enumerate(answers) if isinstance(one, IvmeError)
        },
    }
    arrays = {}
    if good and good[0].probabilities is not None:
        rows = [one.probabilities for one in good if one.probabilities is not None]
        arrays["probabilities"] = np.stack(rows)
    if good and good[0].vector is not None:
        rows = [one.vector for one in good if one.vector is not None]
        arrays["vectors"] = np.stack(rows)
    return content, arrays
