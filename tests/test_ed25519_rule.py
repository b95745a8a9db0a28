"""Which Ed25519 signatures count (docs/format.md): one rule, on published edge cases.

The twelve cases are those of Chalkias, Garillot and Nikolaenko, "Taming the Many EdDSAs" (2020), as
published in the repository novifinancial/ed25519-speccheck on GitHub (cases.txt).
"""

import pytest

from bdn.errors import SignatureError
from bdn.identity import Identity, verify_ed25519
from bdn.vectors.edge_cases import ED25519_CASES, ED25519_VALID


@pytest.mark.parametrize("number", range(len(ED25519_CASES)))
def test_published_edge_cases_are_judged_by_the_stated_rule(number: int) -> None:
    """Small order, torsion, S ≥ L and non-canonical points: two of the twelve are valid."""
    message, public_key, signature = (bytes.fromhex(text) for text in ED25519_CASES[number])
    if number in ED25519_VALID:
        verify_ed25519(public_key, message, signature)
    else:
        with pytest.raises(SignatureError):
            verify_ed25519(public_key, message, signature)


def test_a_key_of_small_order_or_in_a_second_encoding_is_refused() -> None:
    """With A of small order one signature is good for many messages."""
    p = (1 << 255) - 19
    for y in (0, 1, p - 1, p, p + 1, (1 << 255) - 1):
        for sign in (0, 1 << 255):
            key = (y | sign).to_bytes(32, "little")
            with pytest.raises(SignatureError):
                verify_ed25519(key, b"any", bytes([1]) + bytes(63))


def test_an_honest_signature_is_valid_and_every_changed_bit_of_s_is_not() -> None:
    """S and S + L are not both valid."""
    order = (1 << 252) + 27742317777372353535851937790883648493
    identity = Identity.from_secret(bytes(range(32)))
    message = b"message"
    signature = identity._key.sign(message)
    verify_ed25519(identity.public_key, message, signature)
    s = int.from_bytes(signature[32:], "little")
    with pytest.raises(SignatureError):
        verify_ed25519(identity.public_key, message,
                       signature[:32] + (s + order).to_bytes(32, "little"))
