"""Randomness as an argument: cryptographic by default, seeded and named in experiments.

`SystemRandomness` draws from the operating system. `SeededRandomness` is the SHAKE-256 stream of a
seed, split into independent *substreams* by name, so that adding a device or reordering two steps
changes nothing else. A run that uses it repeats byte for byte, and its keys are not secret.
"""

import hashlib
import random
import secrets
from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import numpy as np

from bdn.arguments import as_integer
from bdn.encoding import transcript
from bdn.errors import UsageError


@runtime_checkable
class Randomness(Protocol):
    """A source of uniform bytes and integers."""

    def bytes(self, count: int) -> bytes:
        """``count`` uniform bytes."""

    def bits(self, count: int) -> int:
        """A uniform integer in [0, 2^count)."""

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound), bound ≥ 1."""

    def substream(self, name: str) -> "Randomness":
        """An independent source named ``name``; the system source returns itself."""


class SystemRandomness:
    """The operating system's generator, through `secrets`."""

    def bytes(self, count: int) -> bytes:
        """``count`` uniform bytes."""
        return secrets.token_bytes(count)

    def bits(self, count: int) -> int:
        """A uniform integer in [0, 2^count)."""
        return secrets.randbits(count) if count else 0

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound)."""
        return secrets.randbelow(bound)

    def substream(self, name: str) -> "SystemRandomness":  # noqa: ARG002 - nothing to name
        """Itself: there is no seed to split."""
        return self


class ByteStream(ABC):
    """Uniform integers from uniform bytes; a subclass has the bytes."""

    @abstractmethod
    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes."""

    def bits(self, count: int) -> int:
        """A uniform integer in [0, 2^count)."""
        value = int.from_bytes(self.bytes((count + 7) // 8), "big")
        return value >> (-count % 8)

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound), by rejection."""
        if bound < 1:
            raise UsageError(f"a bound must be at least 1, not {bound}")
        while True:
            value = self.bits((bound - 1).bit_length())
            if value < bound:
                return value


class SeededRandomness(ByteStream):
    """SHAKE-256 of (seed, block counter), for repeatable experiments. Never for real keys."""

    BLOCK = 4096
    """Bytes a hash call gives; always the same, so the stream does not depend on how it is cut."""

    def __init__(self, seed: int | bytes) -> None:
        if not isinstance(seed, bytes):
            seed = str(as_integer(seed, "a seed")).encode()
        self._seed = seed
        self._counter = 0
        self._buffer = b""

    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes of the stream."""
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < count:
            block = transcript("bdn/seeded", self._seed, self._counter.to_bytes(8, "big"))
            pieces.append(hashlib.shake_256(block).digest(self.BLOCK))
            have += self.BLOCK
            self._counter += 1
        stream = b"".join(pieces)
        self._buffer = stream[count:]
        return stream[:count]

    def substream(self, name: str) -> "SeededRandomness":
        """The stream of the seed (this seed, ``name``); drawing from it does not move this one."""
        seed = hashlib.sha256(transcript("bdn/substream", self._seed, name.encode())).digest()
        return SeededRandomness(seed)


class _Wrapped(ByteStream):
    """A `random.Random` (or numpy generator) behind our protocol."""

    def __init__(self, source: random.Random | np.random.Generator) -> None:
        self._source = source

    def bytes(self, count: int) -> bytes:
        if isinstance(self._source, random.Random):
            return self._source.randbytes(count)
        return self._source.bytes(count)

    def substream(self, name: str) -> "Randomness":
        seed = transcript("bdn/wrapped", self.bytes(32), name.encode())
        return SeededRandomness(hashlib.sha256(seed).digest())


def as_randomness(
    rng: Randomness | random.Random | np.random.Generator | None,
) -> Randomness:
    """``rng`` behind the `Randomness` protocol; ``None`` means the operating system's.

    Accepts our own sources, `random.Random` (also `random.SystemRandom`) and numpy generators;
    raises `UsageError` for anything else.
    """
    if rng is None:
        return SystemRandomness()
    if isinstance(rng, (random.Random, np.random.Generator)):
        return _Wrapped(rng)
    if isinstance(rng, Randomness):
        return rng
    raise UsageError(f"{type(rng).__name__} is no source of randomness; pass None for the system's")


def numpy_generator(rng: Randomness) -> np.random.Generator:
    """A numpy generator seeded from ``rng``, for learning (never for keys or noise that hides)."""
    return np.random.Generator(np.random.PCG64(rng.bits(128)))
