"""Which round of Algorithm 2 a block, and an event of the trace, belongs to.

A round is one vector's way: trained, sealed, added up, agreed, opened. An epoch has one (``sgd``)
or two (a gradient phase, then the weights); the closing round scores the last model. Round −1 is
the set-up: exchange keys, the joint key, its confirmations. A block before the sum belongs to the
round that it prepares.
"""

from dataclasses import dataclass

from bdn.chain import AggregateTransaction, Store, UpdateTransaction
from bdn.nodes.settings import LOSS

SET_UP = -1


@dataclass(frozen=True, slots=True)
class Round:
    """One Tx_co with what led to it and what opened it.

    Attributes:
        epoch: p; of the closing round the one after the last.
        phase: "gradient", "weights" or "loss".
        height: of the block with Tx_co.
    """

    epoch: int
    phase: str
    height: int


@dataclass(frozen=True, slots=True)
class Rounds:
    """All rounds of a ledger, in order; ``by_height`` names each block's."""

    rounds: tuple[Round, ...]
    by_height: tuple[int, ...]

    def of_block(self, height: int) -> int:
        """The round of the block at ``height``, also of one that is yet to come."""
        if height < len(self.by_height):
            return self.by_height[height]
        return len(self.rounds) - 1

    def reaches_sum(self, number: int, height: int) -> bool:
        """Whether the block at ``height`` is the round's Tx_co or comes after it."""
        return 0 <= number < len(self.rounds) and height >= self.rounds[number].height

    def after(self, epoch: int, phase: str) -> int:
        """The round that follows the one of (epoch, phase), as the ledger counts epochs."""
        for number, item in enumerate(self.rounds):
            ledger_epoch = item.epoch - (item.phase == LOSS)
            if (ledger_epoch, item.phase) == (epoch, phase):
                return number + 1
        return SET_UP

    def epoch_of(self, number: int) -> int:
        """The epoch of a round; 0 for the set-up."""
        if number < 0 or not self.rounds:
            return 0
        return self.rounds[min(number, len(self.rounds) - 1)].epoch


def read_rounds(store: Store) -> Rounds:
    """The rounds of ``store``."""
    rounds: list[Round] = []
    by_height = []
    waiting = False  # updates are on the ledger, their sum is not
    for height in range(store.height() + 1):
        payloads = [envelope.payload for envelope in store.block(height).envelopes]
        waiting = waiting or any(isinstance(item, UpdateTransaction) for item in payloads)
        for payload in payloads:
            if isinstance(payload, AggregateTransaction):
                epoch = payload.epoch + (payload.phase == LOSS)
                rounds.append(Round(epoch, payload.phase, height))
                waiting = False
        by_height.append(len(rounds) - 1 + waiting)
    last = len(rounds) - 1  # a round without its sum, where the run stopped, is not one
    return Rounds(tuple(rounds), tuple(min(number, last) for number in by_height))
