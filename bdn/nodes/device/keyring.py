"""How the devices put their joint key on the ledger (Algorithm 2, line 6).

The key itself was made before, by a dealer or jointly (`bdn.paillier`). Here: every device
registers an X25519 key; the first device draws a fresh group key, wraps it to each, and registers
one blob ``[public key, wrap_1, …, wrap_n]``; every device fetches the first leaf and its own, with
their Merkle paths, checks that the public key is the one it holds a share of, unwraps its group
key, and confirms. Nothing is uploaded before all have done so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bdn.chain import RegisterKey, blob_root, pack_blob
from bdn.chain.contracts import decode_value, storage_key
from bdn.encoding import transcript
from bdn.errors import PeerError
from bdn.nodes.group_key import GROUP_KEY_BYTES, ExchangeKey, unwrap, wrap
from bdn.nodes.settings import Settings
from bdn.paillier import PublicKey
from bdn.randomness import Randomness

EXCHANGED = storage_key("exchanged")
CONFIRMATIONS = storage_key("confirmations")

Cells = Mapping[bytes, bytes | None]
"""Proven values of contract state, by storage key; None where a cell is absent."""


def exchange_key_cell(device: bytes) -> bytes:
    """The state key of a device's X25519 key."""
    return storage_key("exchange_keys", device)


def read_exchange_keys(cells: Cells, addresses: Sequence[bytes]) -> list[bytes] | None:
    """All devices' X25519 keys in genesis order, or None while one is missing."""
    keys = [cells.get(exchange_key_cell(device)) for device in addresses]
    if any(key is None for key in keys):
        return None
    decoded = [decode_value(key) for key in keys if key is not None]
    return [key for key in decoded if isinstance(key, bytes)]


def is_confirmed(cells: Cells, devices: int) -> bool:
    """Whether every device has confirmed the key."""
    value = cells.get(CONFIRMATIONS)
    return value is not None and decode_value(value) == devices


def wrap_context(chain: bytes, device: int) -> bytes:
    """What a wrapped group key is bound to: its chain and its place."""
    return transcript("bdn/wrap", chain, device.to_bytes(8, "big"))


@dataclass(slots=True)
class Keyring:
    """A device's keys, as far as it has them.

    Attributes:
        chain: the chain id.
        public_key: the joint public key that this device helped to make, encoded.
        exchange: its X25519 pair.
        registered: what stands on the ledger.
        group_key: 32 bytes once unwrapped; empty before.
        done: functions of the learning contract that this device has called with success.
    """

    chain: bytes
    public_key: bytes
    rng: Randomness = field(repr=False)
    exchange: ExchangeKey = field(init=False, repr=False)
    registered: RegisterKey | None = None
    group_key: bytes = field(default=b"", repr=False)
    done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.exchange = ExchangeKey.generate(self.rng)

    @property
    def root(self) -> bytes:
        """The root of the registered blob; empty before."""
        return self.registered.root if self.registered is not None else b""

    def register(
        self, exchange_keys: Sequence[bytes], settings: Settings, rng: Randomness
    ) -> tuple[RegisterKey, bytes]:
        """The registration that the first device sends, with its blob.

        Raises `bdn.paillier.errors.PublicKeyError` for a key that opens nothing, or that gives
        everything away (`bdn.paillier.PublicKey.check`).
        """
        joint_key = PublicKey.from_bytes(self.public_key)
        joint_key.check()
        group_key = rng.bytes(GROUP_KEY_BYTES)
        wraps = [wrap(group_key, key, wrap_context(self.chain, i), rng)
                 for i, key in enumerate(exchange_keys)]
        blob = pack_blob([self.public_key, *wraps])
        payload = RegisterKey(0, joint_key.bits, settings.threshold, settings.key_holders,
                              blob_root(blob), 1 + len(wraps), len(blob))
        return payload, blob

    def open(self, public_key: bytes, wrapped: bytes, position: int) -> None:
        """Check the registered key against our own, and unwrap the group key.

        Args:
            public_key, wrapped: the leaves 0 and 1 + ``position`` of the registered blob.
            position: the device's, in genesis order.

        Raises `PeerError` when the first device registered another key than the one we share, and
        `GroupError` when its wrap for us does not open.
        """
        if public_key != self.public_key:
            raise PeerError("the registered public key is not the one that we hold a share of")
        self.group_key = unwrap(wrapped, self.exchange, wrap_context(self.chain, position))
