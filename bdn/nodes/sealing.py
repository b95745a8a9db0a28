"""Which cipher an epoch's phase uses, and the mining contract's two host functions.

Every node derives the same cipher from what is on the ledger: the settings of genesis, the public
key that the devices registered, and the *terms* ``[key root, anchor]`` that the learning contract
keeps. The anchor is the root of the last aggregate; nobody could foresee it, so the ring-masked
cipher's public polynomials cannot be prepared against.

    w    a model, float32, |w| entries      δ    an update, w_k − w^(p-1)      F    a loss
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdn.chain import merkle, pack_blob, unpack_blob
from bdn.chain.contracts import Value
from bdn.encoding import transcript
from bdn.errors import PeerError
from bdn.nodes.hostcalls import GAS_PER_CALL, arguments_of, size_of
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.paillier import PublicKey, SealedVector, VectorCipher, vector_cipher

BlobReader = Callable[[bytes], bytes]
"""The blob with a given root; raises a `BdnError` where there is none."""

GAS_PER_BYTE_VERIFIED = 40
GAS_PER_BYTE_ADDED = 60
KEPT_PARSED = 16
"""Sealed vectors, of megabytes each, kept between verification and Eq. (5)."""

REMEMBERED = 4096
"""Verified updates that a node remembers, so that a block is not verified anew at each step."""


def vector_length(settings: Settings, phase: str) -> int:
    """Entries of a sealed vector: δ and F, a gradient, or F alone."""
    return {WEIGHTS: settings.model_size + 1, GRADIENT: settings.model_size, LOSS: 1}[phase]


@functools.lru_cache(maxsize=6)
def clips(settings: Settings, phase: str) -> NDArray[np.float64]:
    """The largest absolute value of each entry, float64 of shape (length,); not to be changed."""
    if phase == GRADIENT:
        bounds = np.full(settings.model_size, settings.gradient_clip)
    elif phase == LOSS:
        bounds = np.array([settings.loss_clip])
    else:
        bounds = np.append(np.full(settings.model_size, settings.weight_clip), settings.loss_clip)
    bounds.flags.writeable = False
    return bounds


def update_context(chain: bytes, epoch: int, phase: str, device: bytes) -> bytes:
    """What the proof of plaintext knowledge is bound to: no other device can use it."""
    return transcript("bdn/update", chain, _number(epoch), phase.encode(), device)


def share_session(chain: bytes, epoch: int, phase: str) -> bytes:
    """What the proofs of partial decryptions are bound to."""
    return transcript("bdn/share", chain, _number(epoch), phase.encode())


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


class Ciphers:
    """The ciphers of one chain, made once for each (terms, epoch, phase).

    Args:
        chain: the 32-byte chain id.
        settings: from genesis.
        read_blob: where the public key's blob comes from.
    """

    def __init__(self, chain: bytes, settings: Settings, read_blob: BlobReader) -> None:
        self.chain = chain
        self.settings = settings
        self._read_blob = read_blob
        self._keys: dict[bytes, PublicKey] = {}
        self._made: dict[tuple[bytes, bytes, int, str], VectorCipher] = {}

    def public_key(self, key_root: bytes) -> PublicKey:
        """The public key in the first leaf of the registered blob."""
        if key_root not in self._keys:
            self._keys[key_root] = PublicKey.from_bytes(unpack_blob(self._read_blob(key_root))[0])
        return self._keys[key_root]

    def get(self, terms: Sequence[bytes], epoch: int, phase: str) -> VectorCipher:
        """The cipher for this epoch and phase under ``terms`` = [key root, anchor]."""
        key_root, anchor = terms
        name = (key_root, anchor, epoch, phase)
        if name not in self._made:
            self._made.clear()  # epochs only go forward
            self._made[name] = make_cipher(
                self.settings, self.public_key(key_root), phase,
                transcript("bdn/masks", self.chain, _number(epoch), phase.encode(), anchor),
            )
        return self._made[name]


@functools.lru_cache(maxsize=4)
def make_cipher(
    settings: Settings, public_key: PublicKey, phase: str, seed: bytes
) -> VectorCipher:
    """The settings' cipher for a phase; raises `UsageError` where the budget does not fit.

    A cipher holds nothing secret and never changes, so all nodes of one process share it.
    """
    return vector_cipher(
        settings.cipher,
        public_key,
        length=vector_length(settings, phase),
        clip=clips(settings, phase),
        value_bits=settings.value_bits,
        total_weight=settings.total_weight,
        contributors=settings.devices,
        seed=seed,
    )


class VectorHost:
    """Binds `verify_update` and `weighted_product` of the mining contract to the ciphers.

    Products are kept in ``produced`` (blob by root) until the caller has stored them.
    """

    def __init__(self, ciphers: Ciphers, read_blob: BlobReader) -> None:
        self.ciphers = ciphers
        self.read_blob = read_blob
        self.produced: dict[bytes, bytes] = {}
        self.staged: dict[bytes, bytes] = {}
        """Blobs by root of a request that is being checked: nothing refused is ever stored."""
        self._verified: dict[tuple[Any, ...], None] = {}
        self._parsed: dict[bytes, SealedVector] = {}
        self._products: dict[tuple[Any, ...], tuple[bytes, int, int]] = {}

    def functions(self, _context: object = None) -> Mapping[str, Any]:
        """The ledger's host factory."""
        return {
            "verify_update": _VerifyUpdate(self), "weighted_product": _WeightedProduct(self),
        }

    def verify(
        self, terms: Sequence[bytes], epoch: int, phase: str, device: bytes,
        update: Mapping[str, Any],
    ) -> None:
        """Algorithm 2, line 16. Raises a `PeerError` that says what is wrong with the update."""
        name = (*terms, epoch, phase, device, update["root"], update["samples"])
        if name in self._verified:
            return
        cipher = self.ciphers.get(terms, epoch, phase)
        context = update_context(self.ciphers.chain, epoch, phase, device)
        cipher.verify(self._sealed(cipher, update), context, weight=update["samples"])
        if len(self._verified) >= REMEMBERED:
            self._verified.clear()
        self._verified[name] = None

    def product(
        self, terms: Sequence[bytes], epoch: int, phase: str, updates: Sequence[Mapping[str, Any]]
    ) -> tuple[bytes, int, int]:
        """Eq. (5). Returns (root, chunks, size) of the sealed sum, which is put in `produced`."""
        name = (*terms, epoch, phase, *((update["root"], update["samples"]) for update in updates))
        if name not in self._products:
            cipher = self.ciphers.get(terms, epoch, phase)
            sealed = [self._sealed(cipher, update) for update in updates]
            total = cipher.weighted_sum(sealed, [update["samples"] for update in updates])
            leaves = total.leaves()
            self._products = {name: self._produce(leaves)}
        return self._products[name]

    def _produce(self, leaves: list[bytes]) -> tuple[bytes, int, int]:
        blob, root = pack_blob(leaves), merkle.root(leaves)
        self.produced[root] = blob
        return root, len(leaves), len(blob)

    def _sealed(self, cipher: VectorCipher, update: Mapping[str, Any]) -> SealedVector:
        """The sealed vector in an update's blob, of the size that its transaction states."""
        root = update["root"]
        if root not in self._parsed:
            blob = self.staged[root] if root in self.staged else self.read_blob(root)
            leaves = unpack_blob(blob)
            if len(blob) != update["size"] or len(leaves) != update["chunks"]:
                raise PeerError("the sealed update has another size than its transaction says")
            while len(self._parsed) >= KEPT_PARSED:
                del self._parsed[next(iter(self._parsed))]
            self._parsed[root] = cipher.sealed_from_leaves(leaves)
        return self._parsed[root]


class _VerifyUpdate:
    def __init__(self, host: VectorHost) -> None:
        self._host = host

    def price(self, args: Sequence[Value]) -> int:
        update = arguments_of(args, 5)[4]
        return GAS_PER_CALL + GAS_PER_BYTE_VERIFIED * size_of(update)

    def __call__(self, args: Sequence[Value]) -> Value:
        terms, epoch, phase, device, update = arguments_of(args, 5)
        self._host.verify(terms, epoch, phase, device, update)
        return True


class _WeightedProduct:
    def __init__(self, host: VectorHost) -> None:
        self._host = host

    def price(self, args: Sequence[Value]) -> int:
        updates = arguments_of(args, 4)[3]
        return GAS_PER_CALL + GAS_PER_BYTE_ADDED * sum(size_of(update) for update in updates)

    def __call__(self, args: Sequence[Value]) -> Value:
        terms, epoch, phase, updates = arguments_of(args, 4)
        return list(self._host.product(terms, epoch, phase, updates))
