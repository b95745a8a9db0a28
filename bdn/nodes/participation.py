"""Which devices take part in an epoch (``--participation``), drawn from the ledger itself.

The seed of epoch p is the digest of the block before the one with the first share of epoch p − 1
(before the last confirmation of the key, for the first epoch). Usually that is the block with epoch
p − 1's aggregate, whose digest nobody knows before the edge servers seal it. A device's *rank* is

    SHA-256("bdn/participation" ‖ seed ‖ the device's 20-byte address)

and the m devices with the least ranks are drawn. Each of the sets of m devices is equally likely,
as far as the hashes are random. This is McMahan et al.'s (2017) random set of max(C·n, 1) clients,
with a seed that everybody can look up in place of the server's own choice.

The contract keeps the seed and the m-th rank. Edge servers and `bdn verify` repeat the draw with
it, and a device reads it from the ledger's state with a proof.
"""

from collections.abc import Sequence
from hashlib import sha256

from bdn.chain.contracts import decode_value, storage_key

DOMAIN = b"bdn/participation"


def rank(seed: bytes, device: bytes) -> bytes:
    """Return the 32 bytes that order the devices; ``device`` is a 20-byte address."""
    return sha256(DOMAIN + seed + device).digest()


def draw(seed: bytes, devices: Sequence[bytes], count: int) -> frozenset[bytes]:
    """Return the ``count`` devices that ``seed`` draws."""
    return frozenset(sorted(devices, key=lambda device: rank(seed, device))[:count])


def draw_cell(epoch: int) -> bytes:
    """Return the state key of the learning contract's draw for ``epoch``."""
    return storage_key("draws", epoch)


def is_drawn(cell: bytes, device: bytes) -> bool:
    """Return whether ``device`` is drawn, by the contract's draw as its state holds it."""
    kept = decode_value(cell)
    if not isinstance(kept, dict):
        return False
    seed, last = kept.get("seed"), kept.get("last")
    return isinstance(seed, bytes) and isinstance(last, bytes) and rank(seed, device) <= last
