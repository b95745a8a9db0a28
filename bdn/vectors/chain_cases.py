"""Cases on the ledger: payloads, genesis, whole small ledgers, seals, PBFT, proof of work."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from bdn.chain import (
    AUXILIARY,
    CANDIDATE,
    PROOF_OF_WORK,
    AggregateTransaction,
    BlockSeal,
    CallTransaction,
    Candidate,
    Envelope,
    Genesis,
    Header,
    Ledger,
    Payload,
    ProofOfWork,
    RegisterDevice,
    RegisterKey,
    ShareTransaction,
    UpdateTransaction,
    blob_root,
    build_genesis,
    chain_id,
    device_bits,
    encode_block,
    encode_genesis,
    encode_header,
    encode_seal,
    header_digest,
    mine,
    pack_blob,
    sign_transaction,
)
from bdn.chain.light import without_receipt
from bdn.chain.transactions import PAYLOADS, DeployContract
from bdn.encoding import decode, encode, encode_record, encode_union
from bdn.identity import Identity
from bdn.nodes.ciphers import Ciphers, key_in, share_session, update_context
from bdn.nodes.device.keyring import wrap_context
from bdn.nodes.device.opening import make_share
from bdn.nodes.group_key import ExchangeKey, wrap
from bdn.nodes.requests import sign_request
from bdn.nodes.settings import WEIGHTS, Settings
from bdn.nodes.vector_host import UpdateRecord, VectorHost
from bdn.paillier import deal
from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    Commit,
    Fetch,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Replies,
    Reply,
    State,
    Status,
    ViewChange,
)
from bdn.pbft.signing import Ed25519Signing, signed
from bdn.pbft.wire import decode_message, encode_message
from bdn.pbft.wire import encode_as as encode_pbft
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, commit_statement, quorum, sign_commit
from bdn.vectors.basic_cases import Given, bytes_of, changed
from bdn.vectors.operations import OPERATIONS
from bdn.vectors.vector_set import CaseFile

GAS = 1 << 40
TREASURY = b"bdn treasury account"
EDGES = tuple(Identity.from_secret(bytes_of(f"edge {i}")) for i in range(7))
DEVICES = tuple(Identity.from_secret(bytes_of(f"device {i}")) for i in range(3))
SETTINGS = Settings(
    rule="sgd", iterations=1, epochs=1, step_size=0.1, batch_size=1, tolerance=0.0, classes=2,
    model_size=3, cipher="packed", value_bits=12, weight_clip=1.0, gradient_clip=1.0,
    loss_clip=8.0, total_weight=20, devices=3, threshold=2, key_holders=3, minimum_contributors=3,
    sample_ratio=10, samples_per_second=1000, deadline_ms=1000, gather_ms=100, data_reward=2,
    processing_reward=30, confirmations=0, difficulty=16,
)  # fmt: skip
VECTORS = ([0.5, -1.0, 0.001, 2.0], [0.25, 0.0, -0.3, 1.5], [-1.0, 1.0, 0.7, 8.0])
"""What the devices of the small ledgers seal: three parameters and a loss each."""

SAMPLES = (3, 5, 7)


def _source(name: str) -> str:
    folder = resources.files("bdn.chain.contracts") / "sources"
    return (folder / f"{name}.contract").read_text("utf-8")


def small_genesis(settings: Settings = SETTINGS, consensus: str = "pbft") -> Genesis:
    """Return the genesis record of the small ledgers."""
    return Genesis(
        name="vectors", salt=b"salt", consensus=consensus, gas_table=2, gas_limit=GAS,
        edges=tuple(edge.public_key for edge in EDGES[:4]), balances=((TREASURY, 30),),
        contracts=tuple((name, _source(name)) for name in ("learning", "mining")),
        generation_rate=3_600_000, time=1_000, settings=settings.to_plain())


class SmallLedger:
    """A ledger of one epoch, made step by step; no node takes part."""

    def __init__(
        self, settings: Settings = SETTINGS, consensus: str = "pbft", path: Path | str = ":memory:"
    ) -> None:
        self.genesis, self.settings = small_genesis(settings, consensus), settings
        self.chain = chain_id(self.genesis)
        self.nonces = {EDGES[0].address: 2}  # it deployed two contracts
        self.known: dict[bytes, bytes] = {}
        self.host = VectorHost(Ciphers(self.chain, settings, key_in(self.known.__getitem__)),
                               self.known.__getitem__)
        ownership = [self.sign(device, RegisterDevice(f"device-{i + 1}", "It is mine.", i, 0))
                     for i, device in enumerate(DEVICES)]
        first = build_genesis(self.genesis, EDGES[0], ownership).block
        self.book = Ledger.create(path, self.genesis, first, self.host.functions)
        self.blocks: list[dict[str, Any]] = [
            {"block": encode_block(first).hex(), "seal": None, "blobs": []}]
        self.public_key, self.shares = deal(3, 2, 256, SeededRandomness(b"vectors key"))

    def sign(self, who: Identity, payload: Payload) -> Envelope:
        """Return the next transaction of ``who``."""
        nonce = self.nonces.get(who.address, 0)
        self.nonces[who.address] = nonce + 1
        return sign_transaction(who, self.chain, nonce, GAS, payload)

    def put(
        self, envelopes: Sequence[Envelope], blobs: Sequence[bytes] = (), *, epoch: int = 0,
        kind: str = AUXILIARY, aggregate: Envelope | None = None,
    ) -> None:
        """Seal a block by edge servers 0, 1 and 3, in a view of its own."""
        height = self.book.height + 1
        self.keep(blobs)
        made: Candidate = self.book.propose(
            kind=kind, epoch=epoch, time=self.book.head.time + 500, proposer=EDGES[0].address,
            transactions=envelopes, aggregate=aggregate)
        seal = self._seal(made.block.header, height)
        self.book.commit(made.block, seal)
        self.blocks.append({"block": encode_block(made.block).hex(),
                            "seal": encode_seal(seal).hex(),
                            "blobs": [blob.hex() for blob in blobs]})

    def _seal(self, header: Header, height: int) -> BlockSeal:
        if self.genesis.consensus == PROOF_OF_WORK:
            return mine(header, self.book.next_difficulty())
        view, name = height % 2, header_digest(header)
        return Seal(view, height, name, tuple(
            (i, sign_commit(EDGES[i], self.chain, view, height, name)) for i in (0, 1, 3)))

    def keep(self, blobs: Sequence[bytes]) -> None:
        """Let the ledger and the ciphers find these blobs."""
        for blob in blobs:
            self.known[self.book.put_blob(blob)] = blob

    def play(self) -> None:
        """Make the key, one epoch, and its shares."""
        rng, group = SeededRandomness(b"vectors"), bytes_of("group")
        exchange = [ExchangeKey.from_secret(bytes_of(f"exchange {i}")) for i in range(3)]
        self.put([self.sign(device, CallTransaction(
            "learning", "register_exchange_key", (pair.public_key,)))
            for device, pair in zip(DEVICES, exchange, strict=True)])
        key_blob = pack_blob([self.public_key.to_bytes(), *(
            wrap(group, pair.public_key, wrap_context(self.chain, i), rng)
            for i, pair in enumerate(exchange))])
        root = blob_root(key_blob)
        self.put([self.sign(DEVICES[0], RegisterKey(0, 256, 2, 3, root, 4, len(key_blob)))],
                 [key_blob])
        confirmed = [self.sign(device, CallTransaction("learning", "confirm_key", (root,)))
                     for device in DEVICES]
        odd = [self.sign(DEVICES[0], payload) for payload in (  # calls that fail
            CallTransaction("learning", "\U0001fae8", ()), CallTransaction("nothing", "main", ()),
            CallTransaction("learning", "collect", (1,)),
            CallTransaction("learning", "collect", (decode(b"\x81" * 20 + b"\0"),)),
            CallTransaction("learning", "transfer", (b"bob", 1)))]
        self.put([*confirmed, *odd])
        for phase in self.settings.phases:
            self._phase(phase)
            self._shares(phase, group, rng)

    def _phase(self, phase: str) -> None:
        terms = self.book.call("learning", "sealing_terms")
        cipher = self.host.ciphers.get(terms, 1, phase)
        payloads, blobs = [], []
        made = zip(DEVICES, VECTORS, SAMPLES, strict=True)
        for i, (device, vector, samples) in enumerate(made):
            sealed = cipher.seal(
                np.array(vector[:cipher.length]), samples,
                SeededRandomness(f"seal {phase} {i}".encode()),
                update_context(self.chain, 1, phase, device.address))
            blobs.append(pack_blob(sealed.leaves()))
            payloads.append(UpdateTransaction(
                1, phase, samples, 1000, blob_root(blobs[-1]), len(sealed.leaves()),
                len(blobs[-1])))
        self.keep(blobs)
        updates = [self.sign(device, payload)
                   for device, payload in zip(DEVICES, payloads, strict=True)]
        records = [UpdateRecord.of(payload) for payload in payloads]
        root, chunks, size = self.host.product(terms, 1, phase, records)
        blobs.append(self.host.produced[root])
        tx_co = self.sign(EDGES[0], AggregateTransaction(
            1, phase, root, chunks, size, device_bits(range(3)), sum(SAMPLES)))
        self.total = blobs[-1]
        self.put(updates, blobs, epoch=1, aggregate=tx_co,
                 kind=CANDIDATE if phase == WEIGHTS else AUXILIARY)
        self.cipher = cipher

    def _shares(self, phase: str, group: bytes, rng: SeededRandomness) -> None:
        blobs = [make_share(self.cipher, share, self.total, share_session(self.chain, 1, phase),
                            DEVICES[share.index - 1].address, group, rng)
                 for share in self.shares[:2]]
        self.put([self.sign(DEVICES[i], ShareTransaction(
            1, phase, i + 1, blob_root(blob), 1, len(blob))) for i, blob in enumerate(blobs)],
            blobs, epoch=1)


def _ledger_file(name: str, settings: Settings, changes: Sequence[Any]) -> CaseFile:
    small = SmallLedger(settings)
    try:
        small.play()
        proofs = _proofs(small.book)
    finally:
        small.book.close()
    made = CaseFile(name, "Sections 4 to 16: a whole ledger of four edge servers and three devices "
                    f"with the {settings.cipher} cipher and a toy key of 256 bits: keys, one epoch,"
                    " shares, and calls that fail. secrets holds the Ed25519 seeds of edge servers "
                    "and devices, the X25519 secrets, the group key, and the key shares s_i in "
                    "decimal. Negative cases change one byte.", OPERATIONS)
    made.constants = {
        "genesis": encode_genesis(small.genesis).hex(), "blocks": small.blocks,
        "secrets": {"edges": [edge.secret.hex() for edge in EDGES[:4]],
                    "devices": [device.secret.hex() for device in DEVICES],
                    "exchange": [bytes_of(f"exchange {i}").hex() for i in range(3)],
                    "group_key": bytes_of("group").hex(),
                    "shares": [str(share.secret) for share in small.shares]}}
    made.add("the ledger", "ledger", record="@genesis", blocks="@blocks")
    for change in changes:
        height, part, which, at = change
        made.add(f"byte {at} of {part} {which} of block {height} changed", "ledger", valid=False,
                 record="@genesis", blocks="@blocks", change=change)
    for what, proof, head in proofs:
        made.add(f"proof of {what}", "inclusion", proof=proof.hex(), header=head.hex())
        made.refuse(f"proof of {what}", "inclusion", {"proof": proof.hex(), "header": head.hex()}, {
            "a path's byte changed": {"proof": changed(proof, -3).hex()},
            "cut": {"proof": proof[:-1].hex()}})
    return made


def _proofs(book: Ledger) -> list[tuple[str, bytes, bytes]]:
    """(what, encoded proof, encoded header) of an update and of Tx_co without its receipt."""
    head = encode_header(book.store.header(4))
    return [("an update", encode_record(book.proof(4, 1)), head),
            ("Tx_co", encode_record(without_receipt(book.proof(4, 3))), head)]


def packed_ledger() -> CaseFile:
    """Return a ledger with the packed cipher."""
    changes = [[0, "block", 0, 40], [1, "block", 0, 60], [1, "seal", 0, 90], [2, "blobs", 0, 200],
               [3, "block", 0, -80], [4, "block", 0, 300], [4, "seal", 0, -1], [4, "blobs", 0, 30],
               [4, "blobs", 3, 12], [5, "blobs", 0, -1]]
    return _ledger_file("ledger_packed", SETTINGS, changes)


def masked_ledger() -> CaseFile:
    """Return a ledger with the ring-masked cipher."""
    return _ledger_file("ledger_ring_masked", replace(SETTINGS, cipher="ring-masked"),
                        [[4, "blobs", 1, -100], [4, "block", 0, -30]])


# --- records ------------------------------------------------------------------------------------


def payloads() -> CaseFile:
    """Return a transaction of every payload class, and what is wrong with others."""
    made = CaseFile("payloads", "Section 4: transactions of every payload class, what each asks of "
                    "the contracts, and envelopes that are refused.", OPERATIONS)
    chain, root = bytes_of("chain"), bytes_of("root")
    examples: tuple[Payload, ...] = (
        DeployContract("learning", root), RegisterDevice("device-1", "It is mine.", 0, 12),
        RegisterKey(0, 2048, 3, 5, root, 6, 900),
        UpdateTransaction(1, "weights", 12, 1000, root, 14, 5000),
        AggregateTransaction(1, "weights", root, 14, 4900, b"\x07", 36),
        ShareTransaction(1, "weights", 2, root, 1, 800),
        CallTransaction("learning", "transfer", (bytes(20), 5, None, True, "x", (1, (b"",)))))
    assert {type(payload) for payload in examples} == set(PAYLOADS.values())
    for payload in examples:
        name = type(payload).__name__
        envelope = made.add(f"sign {name}", "sign_transaction", seed=DEVICES[0].secret.hex(),
                            chain=chain.hex(), nonce=7, gas_limit=1 << 30,
                            payload=encode_union(payload).hex())
        made.add(name, "transaction", envelope=envelope, chain=chain.hex())
        data = bytes.fromhex(envelope)
        made.refuse(name, "transaction", {"envelope": envelope, "chain": chain.hex()}, {
            "another chain": {"chain": root.hex()},
            "changed signature": {"envelope": changed(data, -1).hex()},
            "changed payload": {"envelope": changed(data, -70).hex()},
            "a byte more": {"envelope": envelope + "00"},
            "a byte less": {"envelope": envelope[:-2]}})
    fields = decode(bytes.fromhex(envelope))
    wrong: dict[str, Any] = {
        "an unknown class": ["Mint", {}], "a field more": ["DeployContract", {
            "name": "a", "source": root, "x": 1}],
        "a field less": ["DeployContract", {"name": "a"}],
        "a short digest": ["DeployContract", {"name": "a", "source": b"short"}],
        "a long name": ["DeployContract", {"name": "a" * 257, "source": root}],
        "a negative number": ["RegisterDevice", {"name": "", "statement": "", "edge": -1,
                                                 "samples": 0}],
        "2^63": ["RegisterDevice", {"name": "", "statement": "", "edge": 1 << 63, "samples": 0}],
        "a set that ends with zero": ["AggregateTransaction", {
            "epoch": 1, "phase": "weights", "root": root, "chunks": 1, "size": 1,
            "contributors": b"\x01\x00", "total_samples": 1}],
        "a map as argument": ["CallTransaction", {"contract": "a", "function": "b",
                                                  "arguments": [{"a": 1}]}],
        "a borrowed function": ["CallTransaction", {"contract": "learning", "function": "upload",
                                                    "arguments": []}],
        "initialize": ["CallTransaction", {"contract": "learning", "function": "initialize",
                                           "arguments": []}],
    }
    for what, payload_value in wrong.items():
        body = [*fields[:4], payload_value]
        signature = DEVICES[0].sign("bdn/transaction", encode(body))
        made.add(what, "transaction", valid=False, chain=chain.hex(),
                 envelope=encode([*body, signature]).hex())
    return made


def genesis_and_headers() -> CaseFile:
    """Return genesis records and headers."""
    made = CaseFile("genesis", "Sections 5, 6 and 9: genesis records with their chain ids, headers "
                    "with their digests, receipts, and records that are refused.", OPERATIONS)
    record = replace(small_genesis(), contracts=(("learning", "x: int\n"),))
    plain = decode(encode_genesis(record))
    made.add("genesis", "genesis", record=encode(plain).hex())
    odd: dict[str, Given] = {
            "format 1": {"format": 1}, "no format": {"format": None}, "no edges": {"edges": []},
            "twice the same edge": {"edges": [plain["edges"][0]] * 2},
            "an edge of 31 bytes": {"edges": [bytes(31)]}, "unknown consensus":
            {"consensus": "poa"}, "no gas": {"gas_limit": 0}, "too much gas":
            {"gas_limit": (1 << 40) + 1}, "an empty account": {"balances": [[b"", 1]]},
            "a negative balance": {"balances": [[b"a", -1]]},
            "an account twice": {"balances": [[b"a", 1], [b"a", 2]]},
            "a contract twice": {"contracts": [["a", ""], ["a", ""]]},
            "a contract called ledger": {"contracts": [["ledger", ""]]},
            "no rate": {"generation_rate": 0}, "a field more": {"extra": 1}}
    for what, other in odd.items():
        changed_record = {**plain, **other}
        if changed_record["format"] is None:
            del changed_record["format"]
        made.add(what, "genesis", valid=False, record=encode(changed_record).hex())
    made.add("another salt", "genesis", record=encode({**plain, "salt": b"pepper"}).hex())
    head = Header(bytes_of("chain"), 3, 1, "candidate", bytes_of("parent"), bytes_of("t"),
                  bytes_of("s"), bytes_of("r"), 3_600_000, bytes_of("edge", 20), 123_456)
    fields = decode(encode_header(head))
    for kind in ("genesis", "candidate", "auxiliary"):
        made.add(f"{kind} header", "header", record=encode({**fields, "kind": kind}).hex())
    odd = {"unknown kind": {"kind": "orphan"}, "short digest": {"parent": bytes(31)},
                        "long proposer": {"proposer": bytes(21)}, "negative time": {"time": -1},
                        "2^63": {"height": 1 << 63}, "text as digest": {"chain": "a" * 32}}
    for what, other in odd.items():
        made.add(f"header: {what}", "header", valid=False, record=encode({**fields, **other}).hex())
    receipt: dict[str, Any] = {
        "transaction": bytes_of("t"), "ok": False, "status": "failed", "gas_used": 12,
        "result": None, "events": [], "reason": {
            "code": "division", "arguments": [], "contract": "", "line": 3}}
    made.add("receipt", "receipt", record=encode(receipt).hex())
    odd = {"a sentence": {"reason": "division by zero"}, "no reason's line":
                        {"reason": {"code": "x", "arguments": [], "contract": ""}},
                        "ok as number": {"ok": 1}, "short digest": {"transaction": b""}}
    for what, other in odd.items():
        made.add(f"receipt: {what}", "receipt", valid=False,
                 record=encode({**receipt, **other}).hex())
    return made


# --- seals and PBFT -----------------------------------------------------------------------------


def seals() -> CaseFile:
    """Return seals of 4 to 7 edge servers, good and bad in each way."""
    made = CaseFile("seals", "Section 7: f and q, COMMIT statements, and seals of n = 4 to 7 edge "
                    "servers.", OPERATIONS)
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 100):
        made.add(f"quorum of {n}", "quorum", n=n)
    chain, name, other = bytes_of("chain"), bytes_of("header"), bytes_of("other")
    made.add("statement", "commit_statement", instance=chain.hex(), view=2, sequence=9,
             digest=name.hex())
    for n in (4, 5, 6, 7):
        q, keys = quorum(n), [edge.public_key.hex() for edge in EDGES[:n]]

        def votes(indices: Sequence[int], domain: str = "bdn/commit", **changes: Any
                  ) -> list[tuple[int, bytes]]:
            values = {"instance": chain, "view": 2, "sequence": 9, "digest": name, **changes}
            return [(i, EDGES[i].sign(domain, commit_statement(**values))) for i in indices]

        def seal_of(signatures: Sequence[tuple[int, bytes]]) -> str:
            return encode_seal(Seal(2, 9, name, tuple(signatures))).hex()

        good = votes(range(q))
        given: Given = {"seal": seal_of(good), "instance": chain.hex(), "replicas": keys}
        made.add(f"{n}: the first q", "seal", **given)
        made.add(f"{n}: the last q", "seal", **{**given, "seal": seal_of(votes(range(n - q, n)))})
        made.add(f"{n}: all", "seal", **{**given, "seal": seal_of(votes(range(n)))})
        last = q - 1
        bad = {
            "one too few": good[1:], "one twice": [good[0], *good[:-1]], "out of order": good[::-1],
            "nobody": [], "an unknown server": [*good[:-1], (n, good[-1][1])],
            "another view": [*good[:-1], *votes([last], view=3)],
            "another sequence": [*good[:-1], *votes([last], sequence=8)],
            "another digest": [*good[:-1], *votes([last], digest=other)],
            "another chain": [*good[:-1], *votes([last], instance=other)],
            "another domain": [*good[:-1], *votes([last], "bdn/pbft/PREPARE")],
            "another server's": [*good[:-1], (last, good[0][1])],
            "a changed one": [(0, changed(good[0][1], 20)), *good[1:]],
            "a cut one": [*good[:-1], (last, good[-1][1][:-1])],
            "one more, wrong": [*good, (q, bytes(64))] if q < n else [*good[:-1], (q - 1, b"")],
        }
        made.refuse(str(n), "seal", given, {
            **{what: {"seal": seal_of(signatures)} for what, signatures in bad.items()},
            "for another chain": {"instance": other.hex()},
            "other keys": {"replicas": [*keys[1:], keys[0]]},
            "another digest inside": {"seal": encode_seal(Seal(2, 9, other, tuple(good))).hex()},
            "proof of work": {"seal": encode_seal(ProofOfWork(name, 16, 0, bytes(32))).hex()}})
    return made


def _pbft_messages(chain: bytes) -> Iterator[Message]:
    """Yield one signed message of each type, and some more."""
    name, other = bytes_of("payload"), bytes_of("other")

    def by(i: int, message: Any) -> Any:
        return signed(message, chain, Ed25519Signing(EDGES[i]))

    yield decode_message(sign_request(chain, DEVICES[0], 4, b"operation"))
    full = by(1, PrePrepare(1, 9, name, b"payload", b""))
    yield full
    yield full.stripped()
    prepares = [by(i, Prepare(1, 9, name, i, b"")) for i in (0, 2)]
    yield prepares[0]
    yield by(2, Commit(1, 9, name, 2, b""))
    yield by(0, Reply(1, "client", 4, b"result", 0, b""))
    points = tuple(by(i, Checkpoint(8, other, i, b"")) for i in (0, 1, 2))
    yield points[0]
    changes = tuple(by(i, ViewChange(2, 8, points, (Prepared(full.stripped(), tuple(prepares)),),
                                     i, b"")) for i in (0, 1, 3))
    yield changes[0]
    yield by(2, NewView(2, changes, (by(2, PrePrepare(2, 9, name, None, b"")),), b""))
    yield by(3, Status(2, True, 8, 9, 3, b""))
    yield by(0, Fetch("decided", 9, bytes(32), 0, b""))
    seal = tuple((i, sign_commit(EDGES[i], chain, 1, 9, name)) for i in (0, 1, 2))
    yield by(1, State("decided", 9, name, b"payload", 1, seal, (), 1, b""))
    yield by(1, PrePrepare(1, 10, NULL_DIGEST, b"", b""))


def pbft() -> CaseFile:
    """Return PBFT's messages with what their signatures cover."""
    made = CaseFile("pbft", "Section 17: PBFT's messages, their domains and statements, for a "
                    "cluster of four; each is refused with a changed byte, by another cluster, and "
                    "cut.", OPERATIONS)
    chain = bytes_of("chain")
    made.constants = {"replicas": [edge.public_key.hex() for edge in EDGES[:4]]}
    for message in _pbft_messages(chain):
        data = encode_message(message)
        given: Given = {"message": data.hex(), "instance": chain.hex(), "replicas": "@replicas"}
        name = f"{type(message).__name__} of {len(data)} bytes"
        made.add(name, "pbft_message", **given)
        at = data.index(message.signature)
        made.refuse(name, "pbft_message", given, {
            "changed signature": {"message": changed(data, at + 7).hex()},
            "another cluster": {"instance": bytes_of("other").hex()},
            "a byte more": {"message": data.hex() + "00"}, "cut": {"message": data[:-1].hex()}})
    for kind in ("replica", "view"):
        odd = signed(Prepare(0, 1, bytes(32), 1, b""), chain, Ed25519Signing(EDGES[1]))
        fields = decode(encode_message(odd))
        fields[1][kind] = 4 if kind == "replica" else 1 << 63
        made.add(f"{kind} out of range", "pbft_message", valid=False, message=encode(fields).hex(),
                 instance=chain.hex(), replicas="@replicas")
    for replies in ((), (("alice", 1, b"x"), ("bob", 5, b""))):
        made.add(f"checkpoint of {len(replies)} replies", "checkpoint_digest",
                 state=bytes_of("state").hex(), replies=encode_pbft(Replies, replies).hex())
    return made


def proof_of_work() -> CaseFile:
    """Return proofs of work and difficulties."""
    made = CaseFile("work", "Section 7: proofs of work, good and bad, and difficulties. The target "
                    "is 1,000 ms at generation rate 3,600,000.", OPERATIONS)
    head = Header(bytes_of("chain"), 3, 1, "auxiliary", bytes_of("parent"), bytes_of("t"),
                  bytes_of("s"), bytes_of("r"), 3_600_000, bytes_of("edge", 20), 123_456)
    name = header_digest(head)
    for difficulty in (16, 64, 100):
        seal = made.add(f"mine at {difficulty}", "mine", header=encode_header(head).hex(),
                        difficulty=difficulty, start=5)
        found = mine(head, difficulty, 5)
        made.add(f"hash at {difficulty}", "work_hash", header_digest=name.hex(),
                 difficulty=difficulty, nonce=found.nonce)
        given: Given = {"seal": seal, "header_digest": name.hex(), "difficulty": difficulty}
        made.add(f"work at {difficulty}", "work", **given)
        poor = next(n for n in range(1000) if _is_poor(name, difficulty, n))
        hash_of = bytes.fromhex(OPERATIONS["work_hash"](name.hex(), difficulty, poor))
        made.refuse(f"work at {difficulty}", "work", given, {
            "another header": {"header_digest": bytes_of("other").hex()},
            "another difficulty": {"difficulty": difficulty + 1},
            "a lower difficulty than is due": {"difficulty": 2 * difficulty},
            "another nonce": {"seal": encode_seal(replace(found, nonce=found.nonce + 1)).hex()},
            "another hash": {"seal": encode_seal(replace(found, work=bytes(32))).hex()},
            "a hash that is too large": {"seal": encode_seal(
                ProofOfWork(name, difficulty, poor, hash_of)).hex()}})
    for difficulty in (16, 17, 200_000, 1 << 60):
        for interval in (1, 500, 999, 1_000, 1_001, 3_999, 4_000, 1_000_000):
            made.add(f"{difficulty} after {interval} ms", "next_difficulty",
                     difficulty=str(difficulty), interval=interval, generation_rate=3_600_000)
    return made


def _is_poor(name: bytes, difficulty: int, nonce: int) -> bool:
    hash_of = int(OPERATIONS["work_hash"](name.hex(), difficulty, nonce), 16)
    return hash_of * difficulty >= 1 << 256


__all__ = ["genesis_and_headers", "masked_ledger", "packed_ledger", "payloads", "pbft",
           "proof_of_work", "seals"]
