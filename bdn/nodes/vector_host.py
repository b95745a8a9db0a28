"""The mining contract's two host functions, which work on sealed vectors.

A contract cannot compute with ciphertexts of megabytes itself. It calls `verify_update` (Algorithm
2, line 16) and `weighted_sum` (line 18, Eq. (5)), whose price in gas follows from the bytes
that the updates' records state. The vectors themselves lie in blobs, outside the contract's memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from bdn.chain import MAX_DEVICES, UpdateTransaction, merkle, pack_blob, unpack_blob
from bdn.chain.contracts import Value
from bdn.chain.contracts.gas import GasTable
from bdn.encoding import digest
from bdn.errors import PeerError, UsageError
from bdn.nodes.ciphers import BlobReader, Ciphers, update_context
from bdn.nodes.shared_work import VERIFY_UPDATE, WEIGHTED_SUM, SharedWork
from bdn.paillier import SealedVector, VectorCipher

KEPT_PARSED = 16
"""Sealed vectors, of megabytes each, kept between verification and Eq. (5)."""


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """What the learning contract records of a device's update, as far as vectors need it.

    Attributes:
        root: Merkle root of the sealed vector's blob.
        chunks, size: leaves and bytes of that blob.
        samples: s_k.
    """

    root: bytes
    chunks: int
    size: int
    samples: int

    @classmethod
    def of(cls, payload: UpdateTransaction) -> "UpdateRecord":
        """Return the record that the contract makes of ``payload``."""
        return cls(payload.root, payload.chunks, payload.size, payload.sample_count)

    @classmethod
    def read(cls, value: Value) -> "UpdateRecord":
        """Return the record in a contract's map; raise `UsageError` where a field is missing."""
        if not isinstance(value, dict):
            raise UsageError("an update's record is a map")
        found = cls(*(value.get(name) for name in ("root", "chunks", "size", "samples")))  # type: ignore[arg-type]  # checked below
        numbers = (found.chunks, found.size, found.samples)
        if type(found.root) is not bytes or any(type(n) is not int or n < 0 for n in numbers):
            raise UsageError("an update's record holds a root, chunks, a size and samples")
        return found

    def to_bytes(self) -> bytes:
        """For hashing."""
        return self.root + f",{self.chunks},{self.size},{self.samples}".encode()


def verification_name(cipher: VectorCipher, context: bytes, update: UpdateRecord) -> bytes:
    """32 bytes that bind everything on which the verification of an update depends.

    The root stands for the sealed vector; whoever has its blob has checked it against the root.
    """
    return digest("bdn/shared/verify-update", cipher.fingerprint, context, update.to_bytes())


class VectorHost:
    """Binds `verify_update` and `weighted_sum` of the mining contract to the ciphers.

    Products are kept in ``produced`` (blob by root) until the caller has stored them. What was
    verified or added up is remembered in ``work``, so that a block is not verified anew at each
    step, and by all edge servers that have it in common.
    """

    def __init__(
        self, ciphers: Ciphers, read_blob: BlobReader, work: SharedWork | None = None
    ) -> None:
        self.ciphers = ciphers
        self.read_blob = read_blob
        self.produced: dict[bytes, bytes] = {}
        self.staged: dict[bytes, bytes] = {}
        """Blobs by root of a request that is being checked: nothing refused is ever stored."""
        self._work = work if work is not None else SharedWork()
        self._own = object()  # whom the work is charged to
        self._parsed: dict[bytes, SealedVector] = {}

    def functions(self, _context: object = None) -> Mapping[str, Any]:
        """Return the host functions by name: the ledger's host factory."""
        return {"verify_update": _VerifyUpdate(self), "weighted_sum": _WeightedSum(self)}

    def verify(
        self, terms: Sequence[bytes], epoch: int, phase: str, device: bytes, update: UpdateRecord
    ) -> None:
        """Algorithm 2, line 16. Raises a `PeerError` that says what is wrong with the update."""
        cipher = self.ciphers.get(terms, epoch, phase)
        context = update_context(self.ciphers.chain, epoch, phase, device)
        self._work.get(
            self._own, VERIFY_UPDATE, verification_name(cipher, context, update),
            lambda: cipher.verify(self._sealed(cipher, update), context, weight=update.samples))

    def product(
        self, terms: Sequence[bytes], epoch: int, phase: str, updates: Sequence[UpdateRecord]
    ) -> tuple[bytes, int, int]:
        """Eq. (5). Returns (root, chunks, size) of the sealed sum, which is put in `produced`."""
        updates = sorted(updates, key=lambda update: update.root)  # the order of the sum is free
        cipher = self.ciphers.get(terms, epoch, phase)
        name = digest("bdn/shared/weighted-sum", cipher.fingerprint,
                      *(update.to_bytes() for update in updates))
        is_new = not self._work.has(self._own, WEIGHTED_SUM, name)
        blob, root, chunks = self._work.get(
            self._own, WEIGHTED_SUM, name, lambda: self._sum(cipher, updates))
        if is_new:
            self.produced[root] = blob
        return root, chunks, len(blob)

    def _sum(
        self, cipher: VectorCipher, updates: Sequence[UpdateRecord]
    ) -> tuple[bytes, bytes, int]:
        """Return blob, root and chunks of the sealed sum."""
        sealed = _Stored(lambda update: self._sealed(cipher, update), updates)
        leaves = cipher.weighted_sum(sealed, [update.samples for update in updates]).leaves()
        return pack_blob(leaves), merkle.root(leaves), len(leaves)

    def _sealed(self, cipher: VectorCipher, update: UpdateRecord) -> SealedVector:
        """Return the sealed vector in an update's blob, of the size that its transaction states."""
        root = update.root
        if root not in self._parsed:
            blob = self.staged[root] if root in self.staged else self.read_blob(root)
            leaves = unpack_blob(blob)
            if len(blob) != update.size or len(leaves) != update.chunks:
                raise PeerError("the sealed update has another size than its transaction says")
            while len(self._parsed) >= KEPT_PARSED:
                del self._parsed[next(iter(self._parsed))]
            self._parsed[root] = cipher.sealed_from_leaves(leaves)
        return self._parsed[root]


class _Stored(Sequence[SealedVector]):
    """The sealed vectors of updates, read from their blobs whenever they are asked for."""

    def __init__(
        self, load: Callable[[UpdateRecord], SealedVector], updates: Sequence[UpdateRecord]
    ) -> None:
        self._load = load
        self._updates = updates

    def __len__(self) -> int:
        return len(self._updates)

    @overload
    def __getitem__(self, place: int) -> SealedVector: ...

    @overload
    def __getitem__(self, place: slice) -> list[SealedVector]: ...

    def __getitem__(self, place: int | slice) -> SealedVector | list[SealedVector]:
        if isinstance(place, slice):
            return [self._load(update) for update in self._updates[place]]
        return self._load(self._updates[place])


class _VerifyUpdate:
    """``verify_update(terms, epoch, phase, device, update)``: None, or the call fails."""

    def __init__(self, host: VectorHost) -> None:
        self._host = host

    def price(self, args: Sequence[Value], table: GasTable) -> int:
        _terms, _epoch, phase, _device, value = _arguments(args, 5)
        size = UpdateRecord.read(value).size
        price = table.sealed + table.verified_byte * size
        if self._host.ciphers.settings.largest_bound(phase) is not None:
            price += table.bounded + table.bounded_byte * size
        return price

    def __call__(self, args: Sequence[Value]) -> Value:
        terms, epoch, phase, device, update = _arguments(args, 5)
        self._host.verify(terms, epoch, phase, device, UpdateRecord.read(update))
        return None


class _WeightedSum:
    """``weighted_sum(terms, epoch, phase, updates)``."""

    def __init__(self, host: VectorHost) -> None:
        self._host = host

    def price(self, args: Sequence[Value], table: GasTable) -> int:
        records = self._records(_arguments(args, 4)[3])
        return table.sealed + table.added_byte * sum(record.size for record in records)

    def __call__(self, args: Sequence[Value]) -> Value:
        terms, epoch, phase, updates = _arguments(args, 4)
        return list(self._host.product(terms, epoch, phase, self._records(updates)))

    @staticmethod
    def _records(updates: Value) -> list[UpdateRecord]:
        """Return the records in ``updates``; raise `UsageError` for more than there can be."""
        if not isinstance(updates, list):
            raise UsageError("the updates to add up are a list")
        if len(updates) > MAX_DEVICES:
            raise UsageError(f"{len(updates)} updates to add up; a chain has at most "
                             f"{MAX_DEVICES} devices")
        return [UpdateRecord.read(update) for update in updates]


def _arguments(args: Sequence[Any], count: int) -> Sequence[Any]:
    """Return ``args`` if there are ``count`` of them; raise `UsageError` otherwise."""
    if len(args) != count:
        raise UsageError(f"expected {count} arguments, found {len(args)}")
    return args
