"""What a transaction may ask: the closed set of payloads (paper, sections 3.2 and 4.2).

`bdn.chain.transactions` signs them, and says which contract call each of them stands for.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from bdn.encoding import Digest, at_most, bits
from bdn.errors import shown
from bdn.identity import ADDRESS_BYTES, Address

DIGEST_BYTES = 32
MAX_NUMBER = 1 << 63
"""Counts, sizes, epochs and nonces stay below this; a ledger need not count further."""

MAX_TRANSACTION_BYTES = 1 << 18
"""Of one signed transaction; bulky bytes travel as blobs."""

MAX_TRANSACTIONS = 1 << 14
"""In one block, and so devices that one transaction can name. A peer's larger block is refused
before its signatures are checked."""

Number = Annotated[int, bits(63)]
Name = Annotated[str, at_most(256)]
Addresses = Annotated[tuple[Address, ...], at_most(MAX_TRANSACTIONS)]
"""Types of a payload's fields, as a decoder bounds them."""


@dataclass(frozen=True, slots=True)
class DeployContract:
    """Puts a contract into the genesis block.

    Attributes:
        name: the contract's name.
        source: the 32-byte digest of its text, which the genesis record holds.
    """

    name: Name
    source: Digest


@dataclass(frozen=True, slots=True)
class RegisterDevice:
    """A device's ownership statement in the genesis block (paper, section 4.2).

    Attributes:
        name: how people call the device.
        statement: the sentence that its owner signs.
        edge: index of the edge server that the device is associated with.
        samples: s_k, which every update of the device must state; 0 leaves it open.
    """

    name: Name
    statement: str
    edge: Number
    samples: Number = 0

    def __post_init__(self) -> None:
        _check_counts(edge=self.edge, samples=self.samples)


@dataclass(frozen=True, slots=True)
class RegisterKey:
    """The devices' joint public key (Algorithm 2, line 6), as a blob.

    Attributes:
        generation: which key this is, from 0; a new group gets a new one.
        modulus_bits: |N|.
        threshold, parties: t of n.
        root, chunks, size: the blob of public key, verification keys v_k, the devices' X25519
            keys and the group key wrapped to each.
    """

    generation: Number
    modulus_bits: Number
    threshold: Number
    parties: Number
    root: Digest
    chunks: Number
    size: Number

    def __post_init__(self) -> None:
        _check_counts(generation=self.generation, modulus_bits=self.modulus_bits,
                      threshold=self.threshold, parties=self.parties)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class UpdateTransaction:
    """Tx_dk^(p): device k's sealed local update (Algorithm 2, line 9).

    Attributes:
        epoch: p.
        phase: which vector of the epoch, such as ``"gradient"``, ``"weights"`` or ``"loss"``.
        sample_count: s_k.
        local_seconds: T_local,dk in whole milliseconds (a ledger holds no floats).
        root, chunks, size: the sealed vector's blob.
    """

    epoch: Number
    phase: Name
    sample_count: Number
    local_seconds: Number
    root: Digest
    chunks: Number
    size: Number

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, sample_count=self.sample_count,
                      local_seconds=self.local_seconds)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class AggregateTransaction:
    """Tx_co^(p): the global update under encryption (Algorithm 2, line 19; Eq. (5)).

    Attributes:
        epoch, phase: as in the updates that it sums.
        root, chunks, size: the blob of the weighted product.
        contributors: the 20-byte addresses p_k of the included devices, in the product's order.
        total_samples: s = Σ s_k over the contributors.
    """

    epoch: Number
    phase: Name
    root: Digest
    chunks: Number
    size: Number
    contributors: Addresses
    total_samples: Number

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, total_samples=self.total_samples)
        _check_blob(self.root, self.chunks, self.size)
        _check_addresses(self.contributors)


@dataclass(frozen=True, slots=True)
class ShareTransaction:
    """A device's partial decryption with its proof, encrypted to the group (DESIGN section 5).

    Attributes:
        epoch, phase: of the aggregate that it helps to open.
        index: i of the key share s_i.
        root, chunks, size: the encrypted share's blob.
    """

    epoch: Number
    phase: Name
    index: Number
    root: Digest
    chunks: Number
    size: Number

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, index=self.index)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class CallTransaction:
    """A call of any public function of a contract that has no payload of its own.

    Attributes:
        contract, function: whom to call.
        arguments: integers, booleans, text, bytes, None and tuples of them; lists become tuples.
    """

    contract: Name
    function: Name
    arguments: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", _frozen(self.arguments))


Payload = (DeployContract | RegisterDevice | RegisterKey | UpdateTransaction | AggregateTransaction
           | ShareTransaction | CallTransaction)

BlobPayload = RegisterKey | UpdateTransaction | AggregateTransaction | ShareTransaction
"""Payloads that name a blob by ``root``, ``chunks`` and ``size``."""

PAYLOADS: dict[str, type[Payload]] = {
    cls.__name__: cls
    for cls in (DeployContract, RegisterDevice, RegisterKey, UpdateTransaction,
                AggregateTransaction, ShareTransaction, CallTransaction)
}

GENESIS_ONLY = (DeployContract, RegisterDevice)


def _check_counts(**numbers: int) -> None:
    for name, number in numbers.items():
        if not 0 <= number < MAX_NUMBER:
            raise ValueError(f"{name} {shown(number)} is outside 0 … 2^63 - 1")


def _check_blob(root: bytes, chunks: int, size: int) -> None:
    _check_counts(chunks=chunks, size=size)
    if len(root) != DIGEST_BYTES:
        raise ValueError(f"a blob's root has {DIGEST_BYTES} bytes, not {len(root)}")


def _check_addresses(addresses: tuple[bytes, ...]) -> None:
    if any(len(address) != ADDRESS_BYTES for address in addresses):
        raise ValueError(f"a device is named by an address of {ADDRESS_BYTES} bytes")


def _frozen(value: Any) -> Any:
    """Lists as tuples all the way down; `ValueError` for anything that cannot be an argument."""
    if type(value) in (list, tuple):
        return tuple(_frozen(item) for item in value)
    if value is None or type(value) in (bool, int, str, bytes):
        return value
    raise ValueError(f"a {type(value).__name__} cannot be an argument of a call")
