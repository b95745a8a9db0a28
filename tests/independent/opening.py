"""Open the sums on a ledger with the devices' group key, without any part of bdn.

    python tests/independent/opening.py RUN/ledger.sqlite GROUP_KEY

verifier.py beside this file verifies the ledger first. Then the shares on it are unsealed and
their proofs verified, and each sum with enough of them is opened (docs/format.md, sections 11 and
14 to 16).
"""

import math
import sys
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from verifier import (
    Cipher,
    InvalidLedger,
    Key,
    Ledger,
    combiners,
    digest,
    need,
    record,
    transcript,
    u64,
)


def openings(ledger: Ledger, group_key: bytes) -> list[tuple[int, str, list[float]]]:
    """(epoch, phase, Σ s_k x_k) of each aggregate with enough shares on the ledger."""
    result = []
    for cipher, p in ledger.sums:
        session = transcript("bdn/share", ledger.chain, u64(p["epoch"]), p["phase"].encode())
        leaves = ledger.blob(p)
        c, *_ = cipher.split(leaves, "bdn/sum-tail")
        bound = transcript("bdn/vector-session", digest("bdn/sealed-sum", *leaves), session)
        parts = {}
        for number in range(len(cipher.key.keys)):
            device = ledger.contracts.get(b"", "devices", number)
            share = ledger.contracts.get(None, "shares", p["epoch"], p["phase"], device)
            if share is not None:
                holder = transcript("bdn/holder", session, u64(number + 1), device)
                parts[number + 1] = part_of(ledger, cipher, share, holder, group_key, c, bound)
        if len(parts) >= cipher.key.threshold:
            sums = opened(cipher, leaves, open_shares(cipher.key, parts))
            result.append((p["epoch"], p["phase"], [x * step for x, step in
                                                    zip(sums, cipher.steps, strict=True)]))
    return result


def part_of(ledger: Ledger, cipher: Cipher, share: dict[str, Any], holder: bytes, group_key: bytes,
         c: list[int], session: bytes) -> list[int]:
    (sealed,) = ledger.blob(share)
    try:
        data = AESGCM(group_key).decrypt(
            sealed[:12], sealed[12:], transcript("bdn/group-share", holder))
    except InvalidTag as error:
        raise InvalidLedger("a share does not open with this group key") from error
    whole = record(data, {"index": "i", "partial": "b"}, "share")
    part = record(whole["partial"], {"index": "i", "values": "b", "proof": "*", "label": "*"},
                  "partial decryption")
    need(whole["index"] == part["index"] == share["index"], "a share's index")
    return verify_part(cipher.key, part, c, session)


def verify_part(key: Key, part: dict[str, Any], c: list[int], session: bytes) -> list[int]:
    """Check a PartialVector; return its values."""
    i, packed = part["index"], part["values"]
    values = key.numbers([packed[at:at + key.width]
                           for at in range(0, len(packed), key.width)])
    need(1 <= i <= len(key.keys) and len(values) == len(c), "share: form")
    label = {"key": key.digest, "ciphertexts": digest("bdn/paillier/ciphertexts",
                                                       key.fix(*c)),
             "session": digest("bdn/paillier/session", session)}
    need(part["label"] == label, "share: label")
    seed = digest("bdn/paillier/share-combiners", session, key.digest, u64(i),
                  key.fix(*c), key.fix(*values))
    rho = combiners(seed, len(c))
    C, D, vi = key.product(c, rho), key.product(values, rho), key.keys[i - 1]
    e, z = part["proof"]["challenge"], part["proof"]["response"]
    length = max(1, min(256, key.bits // 2 - 2))
    need(0 <= e < 1 << length and z.bit_length() <= key.share_bits + length + 129, "share")
    X = pow(C, 4 * z, key.N2) * pow(D, -2 * e, key.N2) % key.N2
    Y = pow(key.v, z, key.N2) * pow(vi, -e, key.N2) % key.N2
    numbers = (key.N, key.v, i, vi, C, D, X, Y)
    hashed = digest("bdn/paillier/share-proof", seed, *(key.fix(n) for n in numbers))
    need(int.from_bytes(hashed, "big") >> (256 - length) == e, "the share's proof")
    return values


def open_shares(key: Key, parts: dict[int, list[int]]) -> list[int]:
    """Signed plaintexts from the shares of t parties."""
    chosen = sorted(parts)[:key.threshold]
    opened = []
    unmask = pow(4 * key.delta**2 * key.theta, -1, key.N)
    for column in range(len(parts[chosen[0]])):
        c = 1
        for i in chosen:
            top = key.delta * math.prod(j for j in chosen if j != i)
            lam = top // math.prod(j - i for j in chosen if j != i)
            c = c * pow(parts[i][column], 2 * lam, key.N2) % key.N2
        need((c - 1) % key.N == 0, "the shares do not open")
        M = (c - 1) // key.N * unmask % key.N
        opened.append(M - key.N if M > key.N // 2 else M)
    return opened


def opened(cipher: Cipher, leaves: list[bytes], plaintexts: list[int]) -> list[int]:
    """Σ s_k q_k from the opened plaintexts of a sum."""
    _, chunks, weight, _ = cipher.split(leaves, "bdn/sum-tail")
    offset = int.from_bytes(weight, "big") * cipher.offset
    if not cipher.masked:
        signed_slots = cipher.norm is not None
        packed = -(-cipher.entries // cipher.slots)
        sums = unpack(cipher, plaintexts[:packed], cipher.slots, cipher.entries, signed_slots)
        sums += unpack(cipher, plaintexts[packed:], 1, cipher.length - cipher.entries, signed_slots)
        return [x - offset for x in sums]
    secret = unpack(cipher, plaintexts, cipher.slots, cipher.n, True)
    return unmasked(cipher, cipher.values(chunks), secret, offset)


def unpack(cipher: Cipher, plaintexts: list[int], slots: int, count: int, signed: bool
           ) -> list[int]:
    half = 1 << (cipher.slot - 1) if signed else 0
    found = []
    for M in plaintexts:
        M += half * sum(1 << (cipher.slot * k) for k in range(slots))
        need(0 <= M < 1 << (cipher.slot * slots), "a plaintext outside its slots")
        found += [(M >> (cipher.slot * k) & ((1 << cipher.slot) - 1)) - half
                  for k in range(slots)]
    return found[:count]


def unmasked(cipher: Cipher, values: list[int], secret: list[int], offset: int) -> list[int]:
    n, q, b = cipher.n, 1 << cipher.q, cipher.value_bytes
    name = digest("bdn/ring/public", cipher.seed, f"{n},{cipher.q}".encode())
    stream = Aes(algorithms.AES(name), modes.CTR(bytes(16))).encryptor()
    width = 2 * cipher.q + n.bit_length() + 9  # one product of large integers per chunk
    lift = max(map(abs, secret)) if secret else 0
    right = sum((x + lift) << (width * k) for k, x in enumerate(secret))
    ones = sum(1 << (width * k) for k in range(n))
    mask, result = (1 << width) - 1, []
    for start in range(0, len(values), n):
        raw = stream.update(bytes(n * b))
        a = [int.from_bytes(raw[b * k:b * k + b], "little") % q for k in range(n)]
        left = sum(x << (width * k) for k, x in enumerate(a))
        full, plain = left * right, left * ones
        for k, value in enumerate(values[start:start + n]):
            low = (full >> (width * k) & mask) - lift * (plain >> (width * k) & mask)
            high = ((full >> (width * (k + n)) & mask)
                    - lift * (plain >> (width * (k + n)) & mask))
            y = (value - (low - high) + q // 2 + (1 << cipher.d) // 2
                 - (offset << cipher.d)) % q
            result.append((y - q // 2) >> cipher.d)
    return result


def main() -> int:
    """Open the sums of a ledger named on the command line."""
    ledger = Ledger(sys.argv[1])
    ledger.verify()
    for epoch, phase, values in openings(ledger, bytes.fromhex(sys.argv[2])):
        print(f"epoch {epoch}, {phase}: {len(values)} sums, the last is {values[-1]:.6g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
