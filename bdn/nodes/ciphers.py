"""Which cipher an epoch's phase uses, and what its proofs are bound to.

Every node derives the same cipher from what is on the ledger: the settings of genesis, the public
key that the devices registered, and the *terms* ``[key root, anchor]`` that the learning contract
keeps. The anchor is the root of the last aggregate; nobody could foresee it, so the ring-masked
cipher's public polynomials cannot be prepared against.

    w    a model, float32, |w| entries      δ    an update, w_k − w^(p-1)      F    a loss
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bdn.chain import unpack_blob
from bdn.encoding import transcript
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.paillier import PublicKey, VectorCipher, vector_cipher

BlobReader = Callable[[bytes], bytes]
"""The blob with a given root; raises a `BdnError` where there is none."""

KeyReader = Callable[[bytes], bytes]
"""The encoded public key of the registered blob with a given root; raises like `BlobReader`."""


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
        layers = settings.layer_clips or ((settings.model_size, settings.weight_clip),)
        bounds = np.concatenate([*(np.full(entries, clip) for entries, clip in layers),
                                 [settings.loss_clip]])
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


def key_in(read_blob: BlobReader) -> KeyReader:
    """Return a reader of the public key in the first leaf of a registered blob."""
    return lambda root: unpack_blob(read_blob(root))[0]


@functools.lru_cache(maxsize=4)
def checked_key(encoded: bytes) -> PublicKey:
    """The public key in ``encoded``, checked; all nodes of one process share it, as the ciphers.

    Raises `bdn.paillier.errors.PublicKeyError` for one that opens nothing, or gives everything
    away (`bdn.paillier.PublicKey.check`).
    """
    key = PublicKey.from_bytes(encoded)
    key.check()
    return key


class Ciphers:
    """The ciphers of one chain, made once for each (terms, epoch, phase).

    Args:
        chain: the 32-byte chain id.
        settings: from genesis.
        read_key: where the public key comes from.
    """

    def __init__(self, chain: bytes, settings: Settings, read_key: KeyReader) -> None:
        self.chain = chain
        self.settings = settings
        self._read_key = read_key
        self._keys: dict[bytes, PublicKey] = {}
        self._made: dict[tuple[bytes, bytes, int, str], VectorCipher] = {}

    def public_key(self, key_root: bytes) -> PublicKey:
        """The registered public key, checked when first used."""
        if key_root not in self._keys:
            self._keys[key_root] = checked_key(self._read_key(key_root))
        return self._keys[key_root]

    def get(self, terms: Sequence[bytes], epoch: int, phase: str) -> VectorCipher:
        """The cipher for this epoch and phase under ``terms`` = [key root, anchor]."""
        key_root, anchor = terms
        name = (key_root, anchor, epoch, phase)
        if name not in self._made:
            self._made.clear()  # epochs only go forward
            self._made[name] = make_cipher(
                self.settings, self.public_key(key_root), phase, epoch,
                transcript("bdn/masks", self.chain, _number(epoch), phase.encode(), anchor),
            )
        return self._made[name]


@functools.lru_cache(maxsize=4)
def make_cipher(
    settings: Settings, public_key: PublicKey, phase: str, epoch: int, seed: bytes
) -> VectorCipher:
    """The settings' cipher for a phase; raises `UsageError` where the budget does not fit.

    The epoch decides on its norm bound, and not on the form of what it seals. A cipher holds
    nothing secret and never changes, so all nodes of one process share it.
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
        norm_bound=settings.bound_of(phase, epoch),
        largest_bound=settings.largest_bound(phase),
        singles=0 if phase == GRADIENT else 1,
    )
