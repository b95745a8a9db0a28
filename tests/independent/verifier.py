"""A second implementation of docs/format.md: it verifies a stored ledger and uses nothing of bdn.

    python tests/independent/verifier.py RUN/ledger.sqlite

It checks what a holder of the ledger can: encoding, digests, roots, signatures, nonces, seals, the
state that the two contracts give (written out here as plain functions), Eq. (5) for both ciphers,
plaintext proofs, rewards and supply. It does not count gas, nor check norm proofs. Exit status 0
when everything holds, 1 when something does not. opening.py opens the sums with the group key.
"""

import argparse
import hashlib
import math
import sqlite3
import struct
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

try:
    from gmpy2 import powmod as power
except ImportError:
    power = pow


class InvalidLedger(Exception):  # noqa: N818 - what it says
    """What does not hold, and where."""


class Failed(Exception):  # noqa: N818 - a call's outcome
    """A contract call that fails and leaves nothing."""

def need(condition: Any, what: str) -> None:
    """Raise `InvalidLedger` unless ``condition`` holds."""
    if not condition:
        raise InvalidLedger(what)

def require(condition: Any) -> None:
    """What the contracts' require does."""
    if not condition:
        raise Failed


# --- section 1: encoding ------------------------------------------------------------------------

def head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major << 5 | value,))
    size = 1 << (value > 0xFF) + (value > 0xFFFF) + (value > 0xFFFFFFFF)
    return bytes((major << 5 | 23 + size.bit_length(),)) + value.to_bytes(size, "big")

def enc(value: Any) -> bytes:
    if value is None or value is True or value is False:
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        major, n = (0, value) if value >= 0 else (1, -1 - value)
        if n < 1 << 64:
            return head(major, n)
        raw = n.to_bytes((n.bit_length() + 7) // 8, "big")
        return head(6, 2 + major) + head(2, len(raw)) + raw
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(map(enc, value))
    pairs = sorted((enc(key), enc(item)) for key, item in value.items())
    return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)

def dec(data: Any) -> Any:
    """The value in ``data``, whose only encoding it is."""
    need(type(data) is bytes, "no bytes where an encoding belongs")
    try:
        value, end = item_at(data, 0)
        need(end == len(data) and enc(value) == data, "not the only encoding of a value")
    except (IndexError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise InvalidLedger("not an encoding") from error
    return value

def item_at(data: bytes, at: int) -> tuple[Any, int]:
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        need(info in (20, 21, 22), "a float or a simple value")
        return {20: False, 21: True, 22: None}[info], at
    need(info < 28, "indefinite or reserved length")
    count = info
    if info >= 24:
        size = 1 << (info - 24)
        need(at + size <= len(data), "cut")
        count, at = int.from_bytes(data[at:at + size], "big"), at + size
    if major < 2:
        return (count if major == 0 else -1 - count), at
    if major in (2, 3):
        need(at + count <= len(data), "cut")
        raw = data[at:at + count]
        return raw if major == 2 else raw.decode(), at + count
    need(count <= len(data), "cut")
    if major == 4:
        items = []
        for _ in range(count):
            item, at = item_at(data, at)
            items.append(item)
        return items, at
    if major == 5:
        found = {}
        for _ in range(count):
            key, at = item_at(data, at)
            need(type(key) is str and key not in found, "a map's key")
            found[key], at = item_at(data, at)
        return found, at
    raw, at = item_at(data, at)
    need(count in (2, 3) and type(raw) is bytes, "a tag")
    n = int.from_bytes(raw, "big")
    return (n if count == 2 else -1 - n), at

def record(data: Any, fields: dict[str, str], what: str) -> dict[str, Any]:
    """A map with exactly ``fields``, each of its type (see `fits`)."""
    value = dec(data) if isinstance(data, bytes) else data
    need(isinstance(value, dict) and value.keys() == fields.keys(), f"{what}: fields")
    for name, kind in fields.items():
        need(fits(value[name], kind), f"{what}.{name}")
    return value

def shape(text: str) -> dict[str, str]:
    return dict(item.split(":") for item in text.split())

def fits(value: Any, kind: str) -> bool:
    """n: number, i: 0 … 2^64 − 1, s: name, t: text, d/a/k/g: 32, 20, 32, 64 bytes, b: bytes."""
    if kind in "ni":
        return type(value) is int and 0 <= value < 1 << (63 if kind == "n" else 64)
    if kind in "st":
        return type(value) is str and len(value.encode()) <= (256 if kind == "s" else 4096)
    if kind in "dakg":
        return type(value) is bytes and len(value) == {"d": 32, "a": 20, "k": 32, "g": 64}[kind]
    return kind == "*" or (type(value) is bytes if kind == "b" else type(value) is list)


# --- sections 2, 3, 6, 8: digests, signatures, trees ---------------------------------------------

def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")

def transcript(domain: str, *parts: bytes) -> bytes:
    return b"".join(u64(len(part)) + part for part in (domain.encode(), *parts))

def digest(domain: str, *parts: bytes) -> bytes:
    return hashlib.sha256(transcript(domain, *parts)).digest()

def address_of(key: bytes) -> bytes:
    return digest("bdn/address", key)[:20]


P = 2**255 - 19
Y8 = int.from_bytes(bytes.fromhex(
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")

def signed(key: bytes, domain: str, message: bytes, signature: bytes) -> bool:
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= P or y in (0, 1, P - 1, Y8, P - Y8):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, transcript(domain, message))
    except (InvalidSignature, ValueError):
        return False
    return True

def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()

def merkle_root(leaves: list[bytes]) -> bytes:
    level = [sha(b"\0" + leaf) for leaf in leaves]
    if not level:
        return sha(b"")
    while len(level) > 1:
        paired = [sha(b"\1" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1:]
    return level[0]

def state_root(cells: dict[tuple[str, bytes], bytes]) -> bytes:
    entries = sorted((digest("bdn/state-key", contract.encode(), key), sha(value))
                     for (contract, key), value in cells.items())
    return subtree(entries, 0)

def subtree(entries: list[tuple[bytes, bytes]], depth: int) -> bytes:
    if not entries:
        return bytes(32)
    if len(entries) == 1:
        return sha(b"\0" + entries[0][0] + entries[0][1])
    right = [e for e in entries if e[0][depth // 8] >> (7 - depth % 8) & 1]
    left = entries[:len(entries) - len(right)]
    return sha(b"\1" + subtree(left, depth + 1) + subtree(right, depth + 1))


# --- contract values (section 8) ----------------------------------------------------------------

def wrapped(value: Any) -> Any:
    """A contract value as a plain one: a dict becomes {"dict": pairs}."""
    if isinstance(value, list):
        return [wrapped(item) for item in value]
    if isinstance(value, dict):
        order = {int: 0, str: 1, bytes: 2}
        keys = sorted(value, key=lambda key: (order[type(key)], key))
        return {"dict": [[key, wrapped(value[key])] for key in keys]}
    return value

def unwrapped(value: Any) -> Any:
    if isinstance(value, list):
        return [unwrapped(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrapped(item) for key, item in value["dict"]}
    return value


# --- section 11: Paillier -----------------------------------------------------------------------


class Key:
    """The joint public key."""

    def __init__(self, data: bytes) -> None:
        f = record(data, shape("N:* theta:* v:* verification_keys:l threshold:i seed:d "
                               "share_bits:i"), "public key")
        self.N, self.theta, self.v, self.keys = (
            f["N"], f["theta"], f["v"], f["verification_keys"])
        self.threshold, self.seed, self.share_bits = f["threshold"], f["seed"], f["share_bits"]
        self.N2, self.bits = self.N * self.N, self.N.bit_length()
        self.width, self.nonce_bits = (2 * self.bits + 7) // 8, (self.bits + 1) // 2
        self.digest = digest("bdn/paillier/key", data)
        self.delta = math.factorial(len(self.keys))
        self.h = self.base()

    def base(self) -> int:
        n, counter = self.N.to_bytes((self.bits + 7) // 8, "big"), 0
        while True:
            seed = transcript("bdn/paillier/h", self.seed, n, u64(counter))
            stream = hashlib.shake_256(seed).digest((self.bits + 135) // 8)
            x = int.from_bytes(stream, "big") % self.N
            if math.gcd(x, self.N) == 1:
                return int(power(-x * x % self.N2, self.N, self.N2))
            counter += 1

    def fix(self, *values: int) -> bytes:
        return b"".join(value.to_bytes(self.width, "big") for value in values)

    def numbers(self, leaves: list[bytes]) -> list[int]:
        values = [int.from_bytes(leaf, "big") for leaf in leaves]
        need(all(0 < c < self.N2 and math.gcd(c, self.N) == 1 for c in values), "a ciphertext")
        return values

    def product(self, bases: list[int], exponents: list[int]) -> int:
        result = 1
        for base, exponent in zip(bases, exponents, strict=True):
            result = result * int(power(base, exponent, self.N2)) % self.N2
        return result

    def verify_contents(self, c: list[int], proof: dict[str, Any], context: bytes) -> None:
        record(proof, {"commitment": "*", "z": "*", "u": "*"}, "plaintext proof")
        A, z, u = proof["commitment"], proof["z"], proof["u"]
        need(all(type(x) is int for x in (A, z, u)), "plaintext proof")
        need(0 < A < self.N2 and 0 <= z < self.N, "plaintext proof: range")
        most = self.nonce_bits + 256 + len(c).bit_length() + 1
        need(u >= 0 and u.bit_length() <= most, "plaintext proof: u")
        seed = digest("bdn/paillier/plaintext-proof", self.digest, context, u64(len(c)),
                      self.fix(*c), self.fix(A))
        left = (1 + self.N * z) * int(power(self.h, u, self.N2)) % self.N2
        need(left == A * self.product(c, combiners(seed, len(c))) % self.N2,
             "the plaintext proof does not hold")

def combiners(seed: bytes, count: int) -> list[int]:
    stream = hashlib.shake_256(seed).digest(16 * count)
    return [int.from_bytes(stream[16 * k:16 * k + 16], "big") for k in range(count)]


# --- sections 12 to 15: sealed vectors ----------------------------------------------------------

RINGS = ((2048, 40), (2048, 46), (4096, 56))


class Cipher:
    """The form of a phase's vectors in an epoch."""

    def __init__(self, settings: dict[str, Any], key: Key, chain: bytes, epoch: int, phase: str,
                 anchor: bytes) -> None:
        self.key, self.s = key, settings
        self.masked = settings["cipher"] == "ring-masked"
        self.seed = transcript("bdn/masks", chain, u64(epoch), phase.encode(), anchor)
        size, v, W = settings["model_size"], settings["value_bits"], settings["total_weight"]
        loss = float(settings["loss_clip"])
        layers = [layer.split(":") for layer in settings["layer_clips"].split(",") if layer]
        layers = layers or [(size, settings["weight_clip"])]
        clips = {"gradient": [(size, settings["gradient_clip"])], "loss": [(1, loss)],
                 "weights": [*layers, (1, loss)]}[phase]
        runs: list[tuple[int, float]] = []
        for count, clip in ((int(count), float(clip)) for count, clip in clips):
            joined = runs.pop()[0] if runs and runs[-1][1] == clip else 0
            runs.append((joined + count, clip))
        self.length = sum(count for count, _ in runs)
        self.max, self.offset = 2**(v - 1) - 1, 2**(v - 1)
        self.fingerprint = digest("bdn/fixed-point", enc([self.length, v, W]), b"".join(
            u64(count) + struct.pack(">d", clip) for count, clip in runs))
        self.steps = [clip / self.max for count, clip in runs for _ in range(count)]
        singles = 0 if phase == "gradient" else 1
        self.bound, self.norm, widest = b"", None, None
        text = settings["gradient_norm_bound" if phase == "gradient" else "norm_bound"]
        self.entries = self.length
        if text != "none":
            bounds = [float(part) for part in text.split(",")]
            self.entries = self.length - singles
            step = self.steps[0]
            now, most = bounds[max(1, min(epoch, len(bounds))) - 1], max(bounds)
            self.norm, widest = ((int(b / step) if self.entries else 1) for b in (now, most))
            self.bound = enc([self.entries, self.norm, [self.max] * singles])
        self.value_bytes = self.chunk = 0
        if self.masked:
            self.form_ring(v, W, widest)
        else:
            self.form_slots(v, W, widest)

    def form_ring(self, v: int, W: int, widest: int | None) -> None:
        devices = self.s["devices"]
        for ring in RINGS:
            n, q = ring
            d = q - (W * (2**v - 1)).bit_length()
            if widest is not None:
                d = min(d, q - math.ceil(5 * 2.46 * (widest * W) * 1.01).bit_length())
            if d >= 1 and math.floor((2.0**d / 160.0) ** 2) >= devices:
                break
        self.n, self.q, self.d = n, q, d
        sigma2 = int(n * 64.0 * (1 + 8 * math.sqrt(2 / n)))
        most = 102 if widest is None else math.isqrt(sigma2)
        self.slot = (devices * most).bit_length() + 1
        self.slots = (self.key.bits - 2) // self.slot
        self.count = -(-n // self.slots)
        self.value_bytes = (q + 7) // 8
        self.chunk = n * self.value_bytes
        self.parameters = enc([n, q, d, 8, 1, devices])
        self.phase = transcript("bdn/ring-masked/phase", self.key.digest, self.fingerprint,
                                self.parameters, self.seed, self.bound)

    def form_slots(self, v: int, W: int, widest: int | None) -> None:
        self.slot = v + W.bit_length()
        if widest is not None:
            reach = max(self.max, math.ceil(2.46 * widest))
            self.slot = max(self.slot, (W * (reach + self.offset)).bit_length() + 1)
            beta = math.isqrt(256 * 1319 * widest * widest // 2000) + 1
            while True:
                cts = -(-self.entries // ((self.key.bits - 2) // self.slot))
                if (2 * cts + 1) * beta < 1 << (self.slot - 1):
                    break
                self.slot += 1
        self.slots = (self.key.bits - 2) // self.slot
        self.count = -(-self.entries // self.slots) + self.length - self.entries

    def split(self, leaves: list[bytes], domain: str) -> tuple[list[int], bytes, bytes, bytes]:
        """Ciphertexts, ring bytes and the tail's two parts."""
        ring = self.length * self.value_bytes
        sizes = [self.key.width] * self.count
        sizes += [min(self.chunk, ring - at) for at in range(0, ring, self.chunk or 1)]
        need([len(leaf) for leaf in leaves[:-1]] == sizes, "a sealed vector's leaves")
        tail, start = leaves[-1], 8 + len(domain)
        first, second = tail[start + 8:start + 16], tail[start + 24:]
        need(tail == transcript(domain, first, second), "the last leaf")
        chunks = b"".join(leaves[self.count:-1])
        need(all(x < 1 << self.q for x in self.values(chunks)) if ring else True, "a ring value")
        return self.key.numbers(leaves[:self.count]), chunks, first, second

    def values(self, chunks: bytes) -> list[int]:
        b = self.value_bytes
        return [int.from_bytes(chunks[at:at + b], "little") for at in range(0, len(chunks), b)]

    def verify(self, leaves: list[bytes], context: bytes, samples: int) -> None:
        """The update's vector is well formed, and its maker knows what is inside."""
        c, chunks, weight, data = self.split(leaves, "bdn/sealed-tail")
        s = int.from_bytes(weight, "big")
        need(s == (samples if self.masked else 0), "the weight inside the message")
        proof = record(data, {"plaintexts": "*", "norm": "*"}, "sealing proof")
        need((proof["norm"] is None) == (self.norm is None), "a norm proof")
        if self.masked:
            bound_to = transcript("bdn/ring-masked", self.phase, weight, sha(chunks), context)
        else:
            bound_to = transcript("bdn/packed", self.fingerprint, context)
        self.key.verify_contents(c, proof["plaintexts"], bound_to)

    def add(self, vectors: list[list[bytes]], weights: list[int]) -> list[bytes]:
        """Eq. (5): the leaves of the sealed sum."""
        product, total = [1] * self.count, [0] * self.length * bool(self.masked)
        for leaves, weight in zip(vectors, weights, strict=True):
            c, chunks, _, _ = self.split(leaves, "bdn/sealed-tail")
            powers = c if self.masked else [int(power(x, weight, self.key.N2)) for x in c]
            product = [x * y % self.key.N2 for x, y in zip(product, powers, strict=True)]
            if self.masked:
                total = [(x + y) % (1 << self.q)
                         for x, y in zip(total, self.values(chunks), strict=True)]
        ring = b"".join(x.to_bytes(self.value_bytes, "little") for x in total)
        cut = [ring[at:at + self.chunk] for at in range(0, len(ring), self.chunk or 1)]
        tail = transcript("bdn/sum-tail", u64(sum(weights)), u64(len(vectors)))
        return [*(self.key.fix(x) for x in product), *cut, tail]

# --- the two contracts (section 4; bdn's sources, as functions) ----------------------------------

TREASURY = b"bdn treasury account"

class Contracts:
    """The state, and what calls do to it."""

    def __init__(self, ledger: "Ledger") -> None:
        self.ledger = ledger
        self.cells: dict[tuple[str, bytes], bytes] = {}
        self.writes: dict[tuple[str, bytes], bytes | None] = {}
        self.header: dict[str, Any] = {}

    def raw(self, contract: str, key: bytes) -> bytes | None:
        slot = (contract, key)
        return self.writes[slot] if slot in self.writes else self.cells.get(slot)

    def get(self, default: Any, *key: Any) -> Any:
        value = self.raw("learning", enc(list(key)))
        return default if value is None else unwrapped(dec(value))

    def must(self, *key: Any) -> Any:
        require(self.has(*key))
        return self.get(None, *key)

    def has(self, *key: Any) -> bool:
        return self.raw("learning", enc(list(key))) is not None

    def put(self, value: Any, *key: Any) -> None:
        self.writes["learning", enc(list(key))] = enc(wrapped(value))

    def setting(self, name: str) -> Any:
        return self.get({}, "settings")[name]

    def initialize(self, genesis: dict[str, Any], edges: list[bytes]) -> None:
        self.put(genesis["settings"], "settings")
        self.put(genesis["settings"]["epochs"], "epochs")
        self.put(edges, "edges")
        for account, amount in genesis["balances"]:
            self.put(amount, "balances", account)
            self.put(self.get(0, "supply") + amount, "supply")

    def call(self, sender: bytes, contract: str, function: str, args: list[Any]) -> bool:
        """Run a call; return False for all others (views, unknown ones), which change nothing."""
        known = {"register_exchange_key": (bytes,), "confirm_key": (bytes,), "extend": (int,),
                 "collect": (bytes,), "transfer": (bytes, int)}
        if contract != "learning" or function not in known:
            return False
        require([type(arg) for arg in args] == list(known[function]))
        getattr(self, function)(sender, *args)
        return True

    def register_device(self, sender: bytes, p: dict[str, Any]) -> None:
        require(not self.has("names", sender) and p["edge"] < len(self.get([], "edges")))
        count = self.get(0, "device_count")
        self.put(p["name"], "names", sender)
        if p["samples"] > 0:
            self.put(p["samples"], "owned", sender)
        self.put(sender, "devices", count)
        self.put(count + 1, "device_count")

    def register_exchange_key(self, sender: bytes, key: bytes) -> None:
        require(self.has("names", sender) and not self.has("exchange_keys", sender))
        require(len(key) == 32)
        self.put(key, "exchange_keys", sender)
        self.put(self.get(0, "exchanged") + 1, "exchanged")

    def register_key(self, sender: bytes, p: dict[str, Any]) -> None:
        require(sender == self.must("devices", 0))
        require(self.get(0, "exchanged") == self.get(0, "device_count") and not self.has("key"))
        require(p["threshold"] == self.setting("threshold"))
        require(p["parties"] == self.setting("key_holders"))
        self.put({"generation": p["generation"], "bits": p["modulus_bits"], "root": p["root"],
                  "chunks": p["chunks"], "size": p["size"]}, "key")
        self.put(p["root"], "anchor")

    def confirm_key(self, sender: bytes, root: bytes) -> None:
        require(self.has("names", sender) and self.has("key"))
        require(self.get({}, "key")["root"] == root and not self.has("confirmed", sender))
        self.put(True, "confirmed", sender)
        count = self.get(0, "confirmations") + 1
        self.put(count, "confirmations")
        if count == self.get(0, "device_count"):
            self.draw(1)

    def draw(self, epoch: int) -> None:
        drawn, seed = self.setting("drawn"), self.header["parent"]
        if drawn > 0:
            ranks = sorted(self.rank(seed, self.get(b"", "devices", i))
                           for i in range(self.get(0, "device_count")))
            self.put({"seed": seed, "last": ranks[drawn - 1]}, "draws", epoch)

    @staticmethod
    def rank(seed: bytes, device: bytes) -> bytes:
        return sha(b"bdn/participation" + seed + device)

    def is_open(self, epoch: int, phase: str) -> bool:
        last, at = self.get("", "phase"), self.get(0, "epoch")
        if self.get(False, "closed"):
            return False
        if last == "gradient":
            return epoch == at and phase == "weights"
        first = "gradient" if self.setting("gradient_phase") else "weights"
        if epoch == at + 1 and at < self.get(0, "epochs"):
            return phase == first
        return phase == "loss" and last == "weights" and epoch == at

    def upload(self, sender: bytes, p: dict[str, Any]) -> None:
        epoch, phase, samples = p["epoch"], p["phase"], p["sample_count"]
        require(self.has("names", sender))
        require(self.get(0, "confirmations") == self.get(0, "device_count"))
        require(self.is_open(epoch, phase))
        drawn = self.get(None, "draws", epoch + 1 if phase == "loss" else epoch)
        require(drawn is None or self.rank(drawn["seed"], sender) <= drawn["last"])
        require(not self.has("updates", epoch, phase, sender) and samples >= 1)
        require(samples == self.get(samples, "owned", sender))
        require(samples * 1000 <= p["local_ms"] * self.setting("samples_per_second"))
        self.put({"root": p["root"], "chunks": p["chunks"], "size": p["size"],
                  "samples": samples, "local_ms": p["local_ms"]}, "updates", epoch, phase, sender)
        self.put(self.get(0, "waiting") + 1, "waiting")

    def share(self, sender: bytes, p: dict[str, Any]) -> None:
        epoch, phase, index = p["epoch"], p["phase"], p["index"]
        require(self.has("aggregates", epoch, phase))
        require(1 <= index <= self.setting("key_holders"))
        require(self.must("devices", index - 1) == sender)
        require(not self.has("shares", epoch, phase, sender))
        self.put({"index": index, "root": p["root"], "chunks": p["chunks"], "size": p["size"]},
                 "shares", epoch, phase, sender)
        self.put(self.get(0, "share_counts", epoch, phase) + 1, "share_counts", epoch, phase)
        if phase == "weights" and not self.has("draws", epoch + 1):
            self.draw(epoch + 1)

    def aggregate(self, sender: bytes, p: dict[str, Any]) -> None:
        epoch, phase, members = p["epoch"], p["phase"], p["contributors"]
        require(sender == self.header["proposer"] and sender in self.get([], "edges"))
        require(members[-1:] != b"\0" and 8 * len(members) < self.get(0, "device_count") + 8)
        devices = [self.must("devices", i) for i in range(8 * len(members))
                   if members[i // 8] >> i % 8 & 1]
        updates = [self.must("updates", epoch, phase, device) for device in devices]
        samples = [update["samples"] for update in updates]
        require(len(samples) >= self.setting("minimum_contributors"))
        require(sum(samples) == p["total_samples"] <= self.setting("total_weight"))
        require(max(samples) <= self.setting("sample_ratio") * min(samples))
        self.ledger.verify_sum(epoch, phase, devices, updates, p,
                               [self.get({}, "key")["root"], self.get(b"", "anchor")])
        require(self.is_open(epoch, phase))
        self.put({"root": p["root"], "chunks": p["chunks"], "size": p["size"],
                  "contributors": members, "total": p["total_samples"]},
                 "aggregates", epoch, phase)
        for name, value in (("epoch", epoch), ("phase", phase), ("closed", phase == "loss"),
                            ("anchor", p["root"]), ("waiting", 0)):
            self.put(value, name)
        if phase == "weights":
            self.pay(TREASURY, sender, self.setting("processing_reward"))
            for device, count in zip(devices, samples, strict=True):
                self.pay(sender, device, count * self.setting("data_reward"))

    def pay(self, source: bytes, target: bytes, amount: int) -> None:
        due = amount + self.get(0, "owed", source, target)
        paid = min(due, self.get(0, "balances", source))
        self.put(self.get(0, "balances", source) - paid, "balances", source)
        self.put(self.get(0, "balances", target) + paid, "balances", target)
        if due > paid:
            self.put(due - paid, "owed", source, target)
        elif self.has("owed", source, target):
            self.writes["learning", enc(["owed", source, target])] = None

    def collect(self, sender: bytes, source: bytes) -> None:
        self.pay(source, sender, 0)

    def transfer(self, sender: bytes, target: bytes, amount: int) -> None:
        require(0 <= amount <= self.get(0, "balances", sender))
        self.put(self.get(0, "balances", sender) - amount, "balances", sender)
        self.put(self.get(0, "balances", target) + amount, "balances", target)

    def extend(self, sender: bytes, epochs: int) -> None:
        require(self.has("names", sender) and self.get(False, "closed"))
        require(self.get(0, "epochs") < epochs <= 1_000_000)
        before = self.get(0, "asked", sender)
        require(before != epochs)
        if before > 0:
            self.put(self.must("askers", before) - 1, "askers", before)
        self.put(epochs, "asked", sender)
        askers = self.get(0, "askers", epochs) + 1
        self.put(askers, "askers", epochs)
        if askers >= self.setting("minimum_contributors"):
            rewards = self.setting("processing_reward") * (epochs - self.get(0, "epochs"))
            self.put(self.get(0, "balances", TREASURY) + rewards, "balances", TREASURY)
            self.put(self.get(0, "supply") + rewards, "supply")
            self.put(epochs, "epochs")
            self.put(False, "closed")


# --- sections 4 to 9: the ledger ----------------------------------------------------------------

HEADER = shape("chain:d height:n epoch:n kind:s parent:d transactions_root:d state_root:d "
               "receipts_root:d generation_rate:n proposer:a time:n")
GENESIS = shape("name:s salt:b consensus:s gas_table:n gas_limit:n edges:l balances:l contracts:l "
                "generation_rate:n time:n settings:* format:n")
BLOB = "root:d chunks:n size:n "
PAYLOADS = {
    "DeployContract": shape("name:s source:d"),
    "RegisterDevice": shape("name:s statement:t edge:n samples:n"),
    "RegisterKey": shape(BLOB + "generation:n modulus_bits:n threshold:n parties:n"),
    "UpdateTransaction": shape(BLOB + "epoch:n phase:s sample_count:n local_ms:n"),
    "ShareTransaction": shape(BLOB + "epoch:n phase:s index:n"),
    "AggregateTransaction": shape(BLOB + "epoch:n phase:s contributors:b total_samples:n"),
    "CallTransaction": shape("contract:s function:s arguments:l"),
}
RECEIPT = shape("transaction:d ok:* status:s gas_used:n result:* events:l reason:*")
SEALS = {"Seal": shape("view:i sequence:i digest:d signatures:l"),
         "ProofOfWork": shape("digest:d difficulty:* nonce:i work:d")}
RESERVED = {("learning", "register_device"), ("learning", "register_key"), ("learning", "upload"),
            ("learning", "share"), ("mining", "aggregate")}


class Ledger:
    """A stored ledger, walked from genesis on."""

    def __init__(self, path: str) -> None:
        self.blobs = Path(path).with_name("blobs")
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        meta = dict(self.db.execute("SELECT name, value FROM meta"))
        need(meta.keys() == {"format", "genesis"} and meta["format"] == b"bdn ledger 2", "meta")
        g = self.genesis = record(meta["genesis"], GENESIS, "genesis")
        need(g["format"] == 2 and g["consensus"] in ("pbft", "pow"), "genesis")
        need(1 <= g["gas_limit"] <= 1 << 40 and g["gas_table"] == 2, "genesis: gas")
        need(all(fits(key, "k") for key in g["edges"]) and g["edges"], "genesis: edges")
        self.chain = digest("bdn/chain", meta["genesis"])
        self.edges = [address_of(key) for key in g["edges"]]
        self.contracts = Contracts(self)
        self.key: tuple[bytes, Key] | None = None
        self.headers: list[dict[str, Any]] = []
        self.difficulties = [0]
        self.named: set[bytes] = set()
        self.sums: list[tuple[Cipher, dict[str, Any]]] = []
        self.seen_updates: list[tuple[bytes, dict[str, Any]]] = []

    def verify(self) -> int:
        """Check everything; return the last height."""
        rows = self.db.execute("SELECT height, header, seal FROM blocks ORDER BY height").fetchall()
        need([row[0] for row in rows] == list(range(len(rows))) and rows, "blocks are missing")
        for height, data, seal in rows:
            try:
                self.block(height, data, seal)
            except InvalidLedger as error:
                raise InvalidLedger(f"block {height}: {error}") from error
        for table in ("transactions", "state"):
            (most,) = self.db.execute(f"SELECT MAX(height) FROM {table}").fetchone()
            need(most is not None and most < len(rows), f"{table}: more than the blocks hold")
        for root, chunks, size in self.db.execute("SELECT root, chunks, size FROM blobs"):
            need(fits(root, "d"), "a blob's root")
            self.blob({"root": root, "chunks": chunks, "size": size})
        return len(rows) - 1

    def block(self, height: int, data: bytes, seal: bytes | None) -> None:
        h = record(data, HEADER, "header")
        name = digest("bdn/header", data)
        self.link(h, height)
        self.seal(h, name, seal)
        rows = self.db.execute("SELECT position, envelope, receipt FROM transactions WHERE "
                               "height = ? ORDER BY position", (height,)).fetchall()
        need([row[0] for row in rows] == list(range(len(rows))), "transactions are missing")
        need(merkle_root([row[1] for row in rows]) == h["transactions_root"], "transactions_root")
        need(merkle_root([row[2] for row in rows]) == h["receipts_root"], "receipts_root")
        before = dict(self.contracts.cells)
        self.contracts.header, self.contracts.writes = h, {}
        if h["kind"] == "candidate":
            last = self.contracts.raw("ledger", b"candidate")
            need(last is None or int.from_bytes(last, "big") < h["epoch"], "a second candidate")
            self.contracts.writes["ledger", b"candidate"] = u64(h["epoch"])
        kinds = [self.transaction(h, position, len(rows), envelope, receipt)
                 for position, envelope, receipt in rows]
        need((h["kind"] == "candidate") <= (kinds[-1:] == ["AggregateTransaction"]), "no Tx_co")
        self.finish(h, before, name)

    def link(self, h: dict[str, Any], height: int) -> None:
        g = self.genesis
        need(h["chain"] == self.chain and h["height"] == height, "chain or height")
        need(h["generation_rate"] == g["generation_rate"], "generation rate")
        if height == 0:
            need((h["kind"], h["epoch"], h["parent"], h["proposer"], h["time"]) == (
                "genesis", 0, bytes(32), self.edges[0], g["time"]), "genesis header")
            return
        parent = self.headers[-1]
        need(h["kind"] in ("candidate", "auxiliary"), "kind")
        need(h["parent"] == parent["name"] and h["time"] > parent["time"], "parent or time")
        need(h["epoch"] >= parent["epoch"] and h["proposer"] in self.edges, "epoch or proposer")

    def seal(self, h: dict[str, Any], name: bytes, data: bytes | None) -> None:
        if h["height"] == 0:
            need(data is None, "genesis has no seal")
            return
        pair = dec(data)
        need(isinstance(pair, list) and len(pair) == 2 and pair[0] in SEALS, "seal")
        s = record(pair[1], SEALS[pair[0]], "seal")
        need(s["digest"] == name, "the seal is for another header")
        need((pair[0] == "Seal") == (self.genesis["consensus"] == "pbft"), "kind of seal")
        if pair[0] == "ProofOfWork":
            due = self.difficulty()
            work = digest("bdn/work", name, due.to_bytes(32, "big"), u64(s["nonce"]))
            need(s["difficulty"] == due and s["work"] == work, "work")
            need(int.from_bytes(work, "big") * due < 1 << 256, "not enough work")
            self.difficulties.append(due)
            return
        n = len(self.edges)
        indices = [index for index, _ in s["signatures"]]
        need(indices == sorted(set(indices)) and set(indices) <= set(range(n)), "signers")
        need(len(indices) >= -(-(n + (n - 1) // 3 + 1) // 2), "no quorum")
        need(s["sequence"] == h["height"], "sequence")
        statement = self.chain + u64(s["view"]) + u64(s["sequence"]) + name
        for index, signature in s["signatures"]:
            key = self.genesis["edges"][index]
            need(signed(key, "bdn/commit", statement, signature), f"signature of {index}")

    def difficulty(self) -> int:
        if len(self.headers) == 1:
            return int(self.genesis["settings"]["difficulty"])
        d, target = self.difficulties[-1], max(1, 3_600_000_000 // self.genesis["generation_rate"])
        interval = self.headers[-1]["time"] - self.headers[-2]["time"]
        return max(16, d + d * (target - min(interval, 4 * target)) // (8 * target))

    def transaction(self, h: dict[str, Any], position: int, count: int, data: bytes,
                    receipt: bytes) -> str:
        value = dec(data)
        need(isinstance(value, list) and len(value) == 6, "envelope")
        need(all(fits(item, kind) for item, kind in zip(value, "dknnlg", strict=True)), "envelope")
        chain, sender, nonce, gas, (kind, fields), signature = value
        need(chain == self.chain and gas <= self.genesis["gas_limit"], "chain or gas")
        need(signed(sender, "bdn/transaction", enc(value[:5]), signature), "signature")
        need(kind in PAYLOADS, "payload")
        p, who = record(fields, PAYLOADS[kind], kind), address_of(sender)
        early = kind in ("DeployContract", "RegisterDevice")
        need(not early or h["height"] == 0, "only genesis holds these")
        last = kind == "AggregateTransaction"
        need(not last or (position == count - 1 and who == h["proposer"]
                          and p["epoch"] == h["epoch"] and h["height"] > 0), "Tx_co")
        if "root" in p:
            self.blob(p)
        place = ("ledger", b"nonce/" + who)
        need(int.from_bytes(self.contracts.raw(*place) or b"", "big") == nonce, "nonce")
        kept = dict(self.contracts.writes) | {place: u64(nonce + 1)}
        self.contracts.writes = dict(kept)
        r = record(receipt, RECEIPT, "receipt")
        need(r["transaction"] == digest("bdn/transaction-digest", data), "receipt's transaction")
        need(type(r["ok"]) is bool and (r["status"] == "ok") == r["ok"], "receipt")
        try:
            decided = self.run(kind, p, who, h)
        except Failed:
            need(not r["ok"], "a call that fails has a good receipt")
        else:
            need(not decided or r["ok"] or r["status"] == "out-of-gas", "a good call has failed")
        need(r["ok"] or not (last or h["height"] == 0), "Tx_co or a call of genesis failed")
        if not r["ok"]:
            self.contracts.writes = kept
        return kind

    def run(self, kind: str, p: dict[str, Any], who: bytes, h: dict[str, Any]) -> bool:
        c = self.contracts
        if kind == "DeployContract":
            sources = dict(map(tuple, self.genesis["contracts"]))
            source = sources.get(p["name"])
            need(source is not None and digest("bdn/contract-source", source.encode())
                 == p["source"], "a contract's source")
            c.writes["ledger", b"contract/" + p["name"].encode()] = p["source"]
            if p["name"] == "learning":
                c.initialize(self.genesis, self.edges)
        elif kind == "CallTransaction":
            need((p["contract"], p["function"]) not in RESERVED and p["function"] != "initialize",
                 "a call that only a payload may make")
            return c.call(who, p["contract"], p["function"], p["arguments"])
        else:
            {"RegisterDevice": c.register_device, "RegisterKey": c.register_key,
             "UpdateTransaction": c.upload, "ShareTransaction": c.share,
             "AggregateTransaction": c.aggregate}[kind](who, p)
        return True

    def finish(self, h: dict[str, Any], before: dict[Any, bytes], name: bytes) -> None:
        c = self.contracts
        changed = {slot: value for slot, value in c.writes.items() if before.get(slot) != value}
        c.cells.update({slot: value for slot, value in changed.items() if value is not None})
        for slot, value in changed.items():
            if value is None:
                del c.cells[slot]
        need(state_root(c.cells) == h["state_root"], "the calls give another state")
        stored = self.db.execute("SELECT contract, key, value FROM state WHERE height = ?",
                                 (h["height"],)).fetchall()
        need({(a.decode(errors="replace"), b): v for a, b, v in stored} == changed
             and len(stored) == len(changed), "stored cells")
        total = sum(dec(value) for (contract, key), value in c.cells.items()
                    if contract == "learning" and key.startswith(enc(["balances", b""])[:10]))
        need(total == c.get(0, "supply"), "the balances do not add up to the supply")
        self.headers.append({**h, "name": name})

    # --- blobs and sums ---

    def leaves_in(self, data: Any) -> list[bytes]:
        leaves = dec(data)
        need(isinstance(leaves, list) and all(type(leaf) is bytes for leaf in leaves), "a blob")
        return leaves

    def blob(self, p: dict[str, Any]) -> list[bytes]:
        path = self.blobs / p["root"].hex()
        need(path.is_file() and path.stat().st_size == p["size"], "a blob is missing or too short")
        leaves = self.leaves_in(path.read_bytes())
        need(len(leaves) == p["chunks"] and merkle_root(leaves) == p["root"], "a blob's leaves")
        return leaves

    def verify_sum(self, epoch: int, phase: str, devices: list[bytes],
                   updates: list[dict[str, Any]], p: dict[str, Any], terms: list[bytes]) -> None:
        """Algorithm 2, lines 14 to 18."""
        key_root, anchor = terms
        if self.key is None or self.key[0] != key_root:
            self.key = key_root, Key(self.blob(self.contracts.get({}, "key"))[0])
        cipher = Cipher(self.genesis["settings"], self.key[1], self.chain, epoch, phase, anchor)
        vectors = []
        for device, update in zip(devices, updates, strict=True):
            leaves = self.blob(update)
            context = transcript("bdn/update", self.chain, u64(epoch), phase.encode(), device)
            cipher.verify(leaves, context, update["samples"])
            vectors.append(leaves)
        total = cipher.add(vectors, [update["samples"] for update in updates])
        blob = enc(total)
        need((merkle_root(total), len(total), len(blob)) == (p["root"], p["chunks"], p["size"]),
             "Tx_co is not Eq. (5)")
        self.sums.append((cipher, p))

def main() -> int:
    """Verify a ledger named on the command line."""
    parser = argparse.ArgumentParser(description="Verify a ledger of bdn without bdn.")
    parser.add_argument("ledger", help="ledger.sqlite of a run folder")
    options = parser.parse_args()
    try:
        print(f"valid up to block {Ledger(options.ledger).verify()}")
    except (InvalidLedger, sqlite3.Error, KeyError, TypeError, ValueError, AttributeError,
            OverflowError) as error:
        print(f"NOT VALID: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
