"""Exchange with python-paillier (`phe`): keys and raw ciphertexts.

`phe` uses the same g = N + 1, so its ciphertexts and ours are the same numbers. Its *encodings* of
floats (mantissa and exponent) are its own; here only integers pass, those of exponent 0. The
package is optional: install ``phe`` (extra ``peers``).
"""

import importlib
from typing import Any

from bdn.paillier.dealer import deal_from_primes
from bdn.paillier.errors import ParameterError
from bdn.paillier.keys import Ciphertext, PublicKey
from bdn.paillier.threshold import KeyShare
from bdn.randomness import Randomness


def public_key_from_phe(key: Any) -> PublicKey:
    """Return an encryption-only key with the modulus of a ``phe.PaillierPublicKey``.

    Raises `ParameterError` unless its g is N + 1.
    """
    N = int(key.n)
    if int(key.g) != N + 1:
        raise ParameterError("this key's g is not N + 1")
    return PublicKey.encryption_only(N)


def public_key_to_phe(public_key: PublicKey) -> Any:
    """Return a ``phe.PaillierPublicKey`` with our modulus."""
    return _phe().PaillierPublicKey(public_key.N)


def deal_from_phe(
    private_key: Any, parties: int, threshold: int, rng: Randomness | None = None
) -> tuple[PublicKey, list[KeyShare]]:
    """Turn a ``phe.PaillierPrivateKey`` into shares: old ciphertexts open under the threshold key.

    phe's primes are not safe, so a wrong share may pass its proof more easily; see
    `bdn.paillier.threshold`. Raises `ParameterError` as `deal_from_primes`.
    """
    p, q = int(private_key.p), int(private_key.q)
    return deal_from_primes(p, q, parties, threshold, require_safe_primes=False, rng=rng)


def ciphertext_from_phe(public_key: PublicKey, number: Any) -> Ciphertext:
    """Return a ``phe.EncryptedNumber`` of exponent 0 under our key, checked.

    Raises `ParameterError`, `ParameterError` (a float's exponent), `CiphertextError`.
    """
    if int(number.public_key.n) != public_key.N:
        raise ParameterError("the phe ciphertext is of another modulus")
    if number.exponent != 0:
        raise ParameterError(f"exponent {number.exponent}: only integers can be exchanged")
    return public_key.ciphertext(int(number.ciphertext()))


def ciphertext_to_phe(c: Ciphertext, phe_key: Any | None = None) -> Any:
    """Return our ciphertext as a ``phe.EncryptedNumber`` of exponent 0."""
    key = public_key_to_phe(c.public_key) if phe_key is None else phe_key
    if int(key.n) != c.public_key.N:
        raise ParameterError("the phe key has another modulus")
    return _phe().EncryptedNumber(key, c.value, 0)


def _phe() -> Any:
    """The module, imported only when it is asked for."""
    try:
        return importlib.import_module("phe")
    except ImportError as error:
        raise ParameterError("python-paillier is not installed: pip install phe") from error
