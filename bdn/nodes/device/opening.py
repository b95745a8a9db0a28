"""How the devices open a sum together (Algorithm 2, lines 24–25).

A key holder makes its partial decryption of an aggregate, with a proof, and seals it for the group,
so that it can travel over the ledger, where every edge server reads. Every device combines t such
shares itself. These are pure functions. Whether to share at all, and when, is decided in
`bdn.nodes.device.device` (`Device._take_turn`, `Device._may_open`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from bdn.chain import AggregateTransaction, pack_blob, unpack_blob
from bdn.encoding import digest, transcript
from bdn.nodes.device.work import Floats
from bdn.nodes.faults import OUR_OWN, reason_of
from bdn.nodes.group_key import GroupError, open_for_group, seal_for_group
from bdn.nodes.settings import Settings
from bdn.paillier import KeyShare, VectorCipher
from bdn.paillier.errors import ShareError
from bdn.randomness import Randomness


@dataclass(slots=True)
class Opening:
    """An aggregate on the ledger that is to be opened, and what has come of it.

    Attributes:
        aggregate: Tx_co.
        height: of its block.
        shares: roots of the shares' blobs by key holder, as they appear on the ledger.
        tried: how many shares the last attempt to open had.
        turn: whether it is this device's turn to make a share.
    """

    aggregate: AggregateTransaction
    height: int
    shares: dict[int, bytes] = field(default_factory=dict)
    tried: int = 0
    turn: bool = False

    def deadlines_to_wait(self, settings: Settings, index: int) -> int:
        """Return how many deadlines key holder ``index`` waits before it shares; 0 for t of them.

        Which t holders share at once turns with the height. Each of the others waits a deadline
        longer than the one before it.
        """
        rank = (index - 1 - self.height) % settings.key_holders
        return max(0, rank - settings.threshold + 1)


@dataclass(frozen=True, slots=True)
class HeldShare:
    """A share's blob, with what the ledger says of it.

    Attributes:
        index: i of the key share s_i.
        holder: 20-byte address of the key holder whose transaction names the blob.
        blob: one leaf, the sealed share.
    """

    index: int
    holder: bytes
    blob: bytes


class Indexed(Protocol):
    """A partial decryption that says which part of the key it was made with."""

    @property
    def index(self) -> int:
        """Return i of the key share s_i."""


Part = TypeVar("Part", bound=Indexed)


def make_share(
    cipher: VectorCipher, share: KeyShare, total: bytes, session: bytes, holder: bytes,
    group_key: bytes, rng: Randomness,
) -> bytes:
    """Return a partial decryption of the aggregate in blob ``total``, sealed for the group, as a
    blob.

    ``holder`` is the 20-byte address of the key holder, to which the seal is bound.
    """
    sealed_sum = cipher.sum_from_leaves(unpack_blob(total))
    part = cipher.partially_decrypt(share, sealed_sum, session=session, rng=rng)
    context = holder_context(session, share.index, holder)
    return pack_blob([seal_for_group(group_key, part.to_bytes(), context, rng)])


def open_aggregate(
    cipher: VectorCipher, total: bytes, shares: Sequence[HeldShare], session: bytes,
    group_key: bytes,
) -> Floats:
    """Algorithm 2, line 25: Σ s_k x_k, float64 (length,), from share blobs; proofs are checked.

    Shares that are not their holder's are left out; raises a `PeerError` that names the bad ones
    when too few good ones remain.
    """
    sealed_sum = cipher.sum_from_leaves(unpack_blob(total))
    parts, strange = open_held(group_key, shares, session, cipher.share_from_bytes)
    try:
        return cipher.open(sealed_sum, parts, session=session)
    except ShareError as error:
        if not strange:
            raise
        raise GroupError("; ".join([str(error), *strange])) from error


def opening_name(
    cipher: VectorCipher, total: bytes, shares: Sequence[HeldShare], session: bytes,
    group_key: bytes,
) -> bytes:
    """32 bytes that bind all arguments of `open_aggregate`."""
    parts = [part for share in shares
             for part in (share.index.to_bytes(8, "big"), share.holder, share.blob)]
    return digest("bdn/shared/open", cipher.fingerprint, total, session, group_key, *parts)


def open_held(
    group_key: bytes, shares: Sequence[HeldShare], session: bytes, decode: Callable[[bytes], Part]
) -> tuple[list[Part], list[str]]:
    """Return the shares that were sealed by whom the ledger names; of the others, what is wrong.

    The seal alone would not do: every member has the group key, and can seal another's share anew
    under its own name. So the part's own index counts too, and its proof, which whoever combines
    the parts checks, holds for that index only.
    """
    parts: list[Part] = []
    strange: list[str] = []
    for share in shares:
        try:
            leaves = unpack_blob(share.blob)
            context = holder_context(session, share.index, share.holder)
            part = decode(open_for_group(group_key, leaves[0] if leaves else b"", context))
            if part.index != share.index:
                raise GroupError(f"it is a share of key holder {part.index}")
        except OUR_OWN:
            raise
        except Exception as error:  # noqa: BLE001 - one evil share must not spoil the others
            strange.append(f"the share of key holder {share.index}: {reason_of(error)}")
            continue
        parts.append(part)
    return parts, strange


def holder_context(session: bytes, index: int, holder: bytes) -> bytes:
    """What a sealed share is bound to: what is opened, and who helps to open it."""
    return transcript("bdn/holder", session, index.to_bytes(8, "big"), holder)
