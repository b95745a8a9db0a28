"""What the ledger costs, beside the signatures and hashes that nobody can save.

The floor of `verify_ledger` is the sum of what it cannot do without: one Ed25519 verification for
each transaction and for each signature of a seal, and one SHA-256 pass over every blob, transaction
and receipt. The floor is measured on the very same bytes, in alternation with the verifier::

    python benchmarks/ledger.py [--quick] [--json FILE]

What lies between the two is reading, decoding strictly, executing the contracts, and the state
tree. Small blocks show it most; blocks with blobs as large as an epoch's updates show it least.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from harness import Report, main, paired, timed

from bdn.chain import (
    CallTransaction,
    Envelope,
    Genesis,
    Header,
    Ledger,
    LedgerState,
    LightClient,
    RegisterDevice,
    ShareTransaction,
    Store,
    attempts,
    build_genesis,
    chain_id,
    encode_envelope,
    encode_header,
    header_digest,
    merkle,
    pack_blob,
    sign_transaction,
    verify_ledger,
)
from bdn.chain.contracts import encode_value
from bdn.chain.contracts.gas import LATEST
from bdn.chain.seals import Seal
from bdn.encoding import transcript
from bdn.identity import Identity
from bdn.randomness import SeededRandomness
from bdn.seal import COMMIT_DOMAIN, commit_statement, quorum, sign_commit

CONTRACT = '''
notes: map[bytes, bytes]
shares: map[int, bytes, bytes]

@public
def register_device(public_key: bytes, name: str, statement: str, edge: int, samples: int):
    emit("registered", device=context.sender)

@public
def note(text: bytes):
    storage.notes[context.sender] = text
    emit("noted", device=context.sender)

@public
def share(epoch: int, phase: str, index: int, root: bytes, chunks: int, size: int):
    storage.shares[epoch, context.sender] = root
'''

GAS = 100_000
DEVICES, EDGES = 10, 4


@dataclass
class Members:
    """The keys of a benchmark's chain."""

    devices: list[Identity]
    edges: list[Identity]


def build(path: Path, blocks: int, blob_bytes: int) -> Members:
    """A sealed chain: in every block each device acts once; with blobs of that size, if any."""
    rng = SeededRandomness(1)
    members = Members([Identity.generate(rng) for _ in range(DEVICES)],
                      [Identity.generate(rng) for _ in range(EDGES)])
    genesis = Genesis(
        "benchmark", b"", "pbft", LATEST, GAS, tuple(edge.public_key for edge in members.edges), (),
        (("learning", CONTRACT),), 60_000, 0)
    chain = chain_id(genesis)
    ownership = [sign_transaction(device, chain, 0, GAS, RegisterDevice("", "", 0))
                 for device in members.devices]
    first = build_genesis(genesis, members.edges[0], ownership)
    ledger = Ledger.create(path, genesis, first.block)
    for height in range(1, blocks + 1):
        envelopes = [act(ledger, device, height, blob_bytes, rng) for device in members.devices]
        block = ledger.propose(kind="auxiliary", epoch=height, time=height,
                               proposer=members.edges[0].address, transactions=envelopes).block
        ledger.commit(block, seal(members, chain, height, block.digest))
    ledger.close()
    return members


def act(
    ledger: Ledger, device: Identity, height: int, blob_bytes: int, rng: SeededRandomness
) -> Envelope:
    """A device's transaction: a note, or an encrypted share with its blob."""
    payload: CallTransaction | ShareTransaction
    if blob_bytes:
        leaves = [rng.bytes(blob_bytes // 8) for _ in range(8)]
        blob = pack_blob(leaves)
        payload = ShareTransaction(height, "weights", 1, ledger.put_blob(blob), 8, len(blob))
    else:
        payload = CallTransaction("learning", "note", (b"%d" % height,))
    return sign_transaction(device, ledger.chain, height, GAS, payload)


def seal(members: Members, chain: bytes, height: int, digest: bytes) -> Seal:
    """A quorum's signatures."""
    return Seal(0, height, digest, tuple(
        (i, sign_commit(members.edges[i], chain, 0, height, digest))
        for i in range(quorum(EDGES))))


@dataclass
class Floor:
    """Bare signatures and hashes over the same bytes that the verifier reads."""

    signed: list[tuple[Ed25519PublicKey, bytes, bytes]]
    hashed: list[bytes]

    @classmethod
    def of(cls, store: Store) -> "Floor":
        """Everything signed or hashed in the ledger."""
        genesis = store.genesis()
        chain = chain_id(genesis)
        edges = [Ed25519PublicKey.from_public_bytes(key) for key in genesis.edges]
        signed, hashed = [], []
        for height in range(store.height() + 1):
            block, raw = store.block(height), store.raw(height)
            for envelope in block.envelopes:
                key = Ed25519PublicKey.from_public_bytes(envelope.sender)
                signed.append((key, envelope.signature, unsigned(envelope)))
            kept = store.seal(height)
            if isinstance(kept, Seal):
                statement = transcript(
                    COMMIT_DOMAIN, commit_statement(chain, kept.view, height, kept.digest))
                signed += [(edges[i], signature, statement) for i, signature in kept.signatures]
            hashed += [raw.header, *(data for row in raw.transactions for data in row)]
        hashed += [store.blob(root) for root in store.blob_roots()]
        return cls(signed, hashed)

    def verify_signatures(self) -> None:
        """Each signature once."""
        for key, signature, message in self.signed:
            key.verify(signature, message)

    def hash(self) -> None:
        """Each byte once."""
        for data in self.hashed:
            hashlib.sha256(data).digest()

    def both(self) -> None:
        """All that cannot be saved."""
        self.verify_signatures()
        self.hash()


def unsigned(envelope: Envelope) -> bytes:
    """What the sender signed: the envelope's array of five, without the signature (58 40 …)."""
    encoded = encode_envelope(envelope)
    return transcript("bdn/transaction", b"\x85" + encoded[1:-66])


# --- what is measured ---------------------------------------------------------------------------


def measure(report: Report) -> None:
    """All tables."""
    with tempfile.TemporaryDirectory() as folder:
        measure_verify(report, Path(folder))
        measure_commit(report, Path(folder))
        measure_light(report, Path(folder))
    measure_trees(report)
    measure_state(report)
    measure_mining(report)


def measure_verify(report: Report, folder: Path) -> None:
    """Verify beside the sum of its signature and hash costs."""
    blocks = 10 if report.quick else 60
    shapes = [("no blobs", 0, blocks), ("blobs of 100 kB", 100_000, max(5, blocks // 4)),
              ("blobs of 1.27 MB (ring-masked updates)", 1_270_000, max(2, blocks // 20))]
    for name, size, count in shapes:
        path = folder / f"{size}.sqlite"
        build(path, count, size)
        with Store.open(path, read_only=True) as store:
            floor = Floor.of(store)
            repeats = 3 if report.quick else 7
            ours, bare = paired(lambda s=store: verify_ledger(s), floor.both, repeats)
            signatures = timed(floor.verify_signatures, repeats)
            report.add(**{
                "verify": name, "blocks": count, "signatures": len(floor.signed),
                "hashed MB": round(sum(map(len, floor.hashed)) / 1e6, 2), "time": ours,
                "floor": bare, "of it signatures": signatures,
                "ratio": round(ours.median / bare.median, 2)})
            if size == 0:
                spilled, memory = paired(lambda s=store: verify_ledger(s, kept=0),
                                         lambda s=store: verify_ledger(s), repeats)
                report.add(**{"state while verifying": "all in a file / all in memory",
                              "file": spilled, "memory": memory,
                              "ratio": round(spilled.median / memory.median, 2)})


def measure_commit(report: Report, folder: Path) -> None:
    """A block's way through an edge server, beside the bare transaction of SQLite."""
    path = folder / "commit.sqlite"
    members = build(path, 1, 0)
    ledger = Ledger.open(path)
    rng = SeededRandomness(2)
    bare = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, data BLOB)")

    def one_block() -> None:
        height = ledger.height + 1
        envelopes = [act(ledger, device, height, 0, rng) for device in members.devices]
        block = ledger.propose(kind="auxiliary", epoch=height, time=height,
                               proposer=members.edges[0].address, transactions=envelopes).block
        ledger.commit(block, seal(members, ledger.chain, height, block.digest))

    def one_row() -> None:
        bare.execute("INSERT INTO rows (data) VALUES (?)", (bytes(8_000),))

    ours, floor = paired(one_block, one_row, 10 if report.quick else 40)
    report.add(**{"store": f"sign, propose, seal and commit {DEVICES} transactions", "time": ours,
                  "bare SQLite row, synchronised": floor})
    blob = pack_blob([rng.bytes(1_270_000 // 8) for _ in range(8)])
    put = timed(lambda: ledger.put_blob(blob[:-1] + rng.bytes(1)), 5)
    root = ledger.put_blob(blob)
    report.add(**{"blob of 1.27 MB": "put", "time": put})
    report.add(**{"blob of 1.27 MB": "get, checked", "time": timed(lambda: ledger.blob(root), 9)})
    opened = timed(lambda: Ledger.open(path, read_only=True).close(), 5)
    report.add(open=f"{ledger.height} blocks, compile and rebuild the state", time=opened)
    ledger.close()
    bare.close()


def measure_light(report: Report, folder: Path) -> None:
    """A light client's header beside its quorum of signatures."""
    with Store.open(folder / "0.sqlite", read_only=True) as store:
        genesis, first = store.genesis(), store.header(0)
        sealed = [(store.header(i), store.seal(i)) for i in range(1, store.height() + 1)]
        floor = Floor.of(store)
    signers = {key.public_bytes_raw() for key in map(
        Ed25519PublicKey.from_public_bytes, genesis.edges)}
    bare = Floor([row for row in floor.signed if row[0].public_bytes_raw() in signers
                  and row[2].find(b"bdn/commit") == 8], [])

    def follow() -> None:
        client = LightClient(genesis, first, header_digest(first))
        for header, kept in sealed:
            assert kept is not None
            client.accept(header, kept, header.time)

    ours, theirs = paired(follow, bare.verify_signatures, 3 if report.quick else 9)
    report.add(**{"light client": f"{len(sealed)} headers of {len(encode_header(first))} bytes",
                  "time": ours, f"{len(bare.signed)} bare signatures": theirs,
                  "ratio": round(ours.median / theirs.median, 2)})


def measure_trees(report: Report) -> None:
    """RFC 6962 trees beside the same number of bare hashes."""
    for count, size in ((1_000, 512), (10, 127_000)) if report.quick else (
            (1_000, 512), (10_000, 512), (124, 10_240), (10, 127_000)):
        leaves = [bytes([i % 256]) * size for i in range(count)]
        inner = bytes(65)

        def bare(leaves: Sequence[bytes] = leaves, inner: bytes = inner) -> None:
            for leaf in leaves:
                hashlib.sha256(b"\x00" + leaf).digest()
                hashlib.sha256(inner).digest()

        ours, theirs = paired(lambda d=leaves: merkle.root(d), bare, 7)
        report.add(**{"Merkle root": f"{count} leaves of {size} bytes", "time": ours,
                      "bare hashes": theirs, "ratio": round(ours.median / theirs.median, 2)})


def measure_state(report: Report) -> None:
    """A block's writes: the cost grows as log n, not as n."""
    for entries in (100, 10_000) if report.quick else (100, 1_000, 10_000, 100_000):
        state = LedgerState().apply({("learning", i.to_bytes(8, "big")): encode_value(i)
                               for i in range(entries)})
        assert state.root
        writes = {("learning", (i * entries // 20).to_bytes(8, "big")): encode_value(-i)
                  for i in range(20)}
        time = timed(lambda s=state, w=writes: s.apply(w).root, 9)
        proof = timed(lambda s=state: s.prove("learning", bytes(8)), 9)
        report.add(**{"state entries": entries, "20 writes and the root": time,
                      "one proof": proof})


def measure_mining(report: Report) -> None:
    """Proof of work: our search beside a bare loop of hashes."""
    genesis = Genesis("mine", b"", "pow", LATEST, GAS, (bytes(31) + b"\x01",), (), (), 60_000, 0)
    header = build_header(genesis)
    batch = 20_000
    prefix = hashlib.sha256(bytes(100))

    def bare() -> None:
        for nonce in range(batch):
            trial = prefix.copy()
            trial.update(nonce.to_bytes(8, "big"))
            trial.digest()

    ours, theirs = paired(lambda: next(attempts(header, 1 << 200)), bare, 5)
    report.add(**{"mining": f"{batch} nonces", "time": ours, "bare hashes": theirs,
                  "hashes a second": round(batch / ours.median),
                  "ratio": round(ours.median / theirs.median, 2)})


def build_header(genesis: Genesis) -> Header:
    """Any header will do to be mined."""
    return Header(chain_id(genesis), 1, 1, "auxiliary", *(bytes(32),) * 4, 60_000, bytes(20), 1)


if __name__ == "__main__":
    main("The ledger beside its signatures and hashes", measure, ["cbor2"])
