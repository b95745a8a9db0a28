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
        """The public key in the first leaf of the registered blob, checked when first used."""
        if key_root not in self._keys:
            key = PublicKey.from_bytes(unpack_blob(self._read_blob(key_root))[0])
            key.check()
            self._keys[key_root] = key
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
