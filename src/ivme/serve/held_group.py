"""A group of an ensemble's members in a process of its own: texts in, probabilities out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.groups import MemberGroup, TabularGroup, TransformerMember
from ivme.serve.channel import Channel, Message
from ivme.serve.served_model import WARM_UP_S

WARM_TEXT = "A first text, so that the first one that is asked for finds everything in place. "
LONG = 40  # times that text: more tokens than encoders read


class HeldGroup:
    """Members that share a process."""

    def __init__(self, group: MemberGroup) -> None:
        self.group = group

    @classmethod
    def load(cls, opening: Mapping[str, Any]) -> "HeldGroup":
        """Return the group that an opening message names, warm."""
        folder = EnsembleFolder.read(opening["folder"], verify=False)
        group = folder.open_group(opening["group"], **opening["arguments"])
        if isinstance(group, TransformerMember):
            group.predictor.keep_to_few_shapes(within_s=WARM_UP_S)
        for text in (WARM_TEXT * LONG, WARM_TEXT):  # then memory is as large as it will ever be
            group.score_batch([text])
        return cls(group)

    def describe(self) -> Mapping[str, Any]:
        """Return what deciding takes, and remarks."""
        return {"thresholds": thresholds_of(self.group), "notes": list(self.group.notes)}

    def answer(self, message: Message, channel: Channel) -> None:
        """Send the probabilities of each member, [texts, labels]."""
        tables = self.group.score_batch(message.content["texts"])
        channel.send({}, {name: np.asarray(table, np.float64) for name, table in tables.items()})


def thresholds_of(group: MemberGroup) -> dict[str, float | None]:
    """Return each member's threshold on the second label's probability; None: the likeliest."""
    if isinstance(group, TabularGroup):
        return dict(group.members.thresholds)
    if isinstance(group, TransformerMember):
        return dict.fromkeys(group.names, group.threshold)
    raise TypeError(f"a {type(group).__name__} tells no thresholds")
