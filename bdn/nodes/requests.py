"""A device's transaction as a PBFT request: client = its address, timestamp = its nonce."""

from bdn.errors import EncodingError, PeerError
from bdn.identity import Identity
from bdn.pbft.messages import Request
from bdn.pbft.signing import Ed25519Signing, signed
from bdn.pbft.wire import decode_message, encode_message

__all__ = ["Request", "decode_request", "sign_request"]


def sign_request(chain: bytes, identity: Identity, nonce: int, operation: bytes) -> bytes:
    """The encoded REQUEST of ``identity`` for ``operation``, an encoded transaction."""
    request = Request(identity.address.hex(), identity.public_key, nonce, operation, b"")
    return encode_message(signed(request, chain, Ed25519Signing(identity)))


def decode_request(data: bytes) -> Request:
    """The REQUEST in ``data``, its signature unchecked; raises `PeerError` for anything else."""
    try:
        message = decode_message(data)
    except EncodingError as error:
        raise PeerError(f"not a request: {error}") from error
    if not isinstance(message, Request):
        raise PeerError(f"a {type(message).__name__} where a request belongs")
    return message
