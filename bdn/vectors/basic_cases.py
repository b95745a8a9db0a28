"""Cases on what everything rests on: encoding, digests, trees, identities, the group key."""

import hashlib
from typing import Any

from bdn.chain import merkle, pack_blob
from bdn.chain.state import LedgerState, StateProof
from bdn.encoding import encode_record
from bdn.identity import Identity, P
from bdn.nodes.group_key import ExchangeKey
from bdn.vectors.edge_cases import ED25519_CASES, ED25519_VALID
from bdn.vectors.operations import OPERATIONS, typed
from bdn.vectors.vector_set import CaseFile

Given = dict[str, Any]
"""An operation's input."""

ORDER = (1 << 252) + 27742317777372353535851937790883648493
"""L of Ed25519."""


def bytes_of(name: str, count: int = 32) -> bytes:
    """Return bytes that look random, the same in every set."""
    return hashlib.shake_256(name.encode()).digest(count)


def changed(data: bytes, at: int, mask: int = 1) -> bytes:
    """Return ``data`` with one byte combined with ``mask``."""
    result = bytearray(data)
    result[at] ^= mask
    return bytes(result)


# --- encoding -----------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    0, 1, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 64) - 1,
    1 << 64, 1 << 200, -1, -24, -25, -(1 << 64), -(1 << 64) - 1, True, False, None, b"", b"\0",
    bytes(24), "", "a", "é\U0001fae8", [], [1, [2, [3]]], {}, {"a": 1, "b": 2, "aa": 3},
    {"dict": [[1, b"x"]]}, [None, True, {"": []}],
)

NOT_ENCODINGS = {
    "no bytes": "", "cut text": "6261", "cut integer": "19ff", "cut array": "8201",
    "cut map": "a16161", "a second value": "0000", "long form of 0": "1800",
    "long form of 23": "1817", "long form of 255": "1900ff", "long form of 65535": "1a0000ffff",
    "long form of 2^32 - 1": "1b00000000ffffffff", "long length of a text": "780161",
    "long length of bytes": "580141", "long length of an array": "980100",
    "indefinite array": "9f01ff", "indefinite text": "7f6161ff", "indefinite map": "bf616101ff",
    "break alone": "ff", "keys out of order": "a2616201616102", "longer key first":
    "a262616101616202", "key twice": "a2616101616102", "integer key": "a10101",
    "bytes as key": "a1416101", "half float": "f90000", "single float": "fa00000000",
    "double float": "fb0000000000000000", "undefined": "f7", "simple value 0": "e0",
    "simple value 255": "f8ff", "tag 0": "c06130", "tag 1": "c100", "tag 55799": "d9d9f700",
    "small bignum": "c24101", "bignum below 2^64": "c248ffffffffffffffff",
    "bignum with leading zero": "c24a00ffffffffffffffffff", "bignum of text": "c26161",
    "negative bignum below 2^64": "c34101", "text that is not UTF-8": "61ff",
    "surrogate in UTF-8": "63eda080", "overlong UTF-8": "62c080",
    "reserved length 28": "1c", "reserved length 30": "5e",
    "65 levels": "81" * 65 + "00", "integer of 8193 bits": "c2590401" + "01" + "00" * 1024,
    "length beyond the end": "5b7fffffffffffffff", "items beyond the end": "9b7fffffffffffffff",
}


def encoding() -> CaseFile:
    """Return values, their encodings, and bytes that encode nothing."""
    made = CaseFile("encoding", "Section 1 of docs/format.md: values with their only encodings, "
                    "and bytes that a decoder refuses.", OPERATIONS)
    for position, value in enumerate(VALUES):
        cbor = made.add(f"value {position}", "encode", value=typed(value))
        made.add(f"encoding {position}", "decode", cbor=cbor)
    for name, cbor in NOT_ENCODINGS.items():
        made.add(name, "decode", valid=False, cbor=cbor)
    made.add("64 levels", "recode", cbor="81" * 64 + "00")
    for name, cbor in (("dict", "a1646469637481820102"), ("text", "63616263")):
        made.add(f"contract value: {name}", "contract_value", cbor=cbor)
    bad = {"plain map": "a1616101", "17 levels": "81" * 17 + "00", "long form": "1800",
           "keys out of order": "a1646469637482820200820100",
           "boolean key": "a164646963748182f500"}
    for name, cbor in bad.items():
        made.add(f"no contract value: {name}", "contract_value", valid=False, cbor=cbor)
    return made


# --- digests and trees --------------------------------------------------------------------------


def digests() -> CaseFile:
    """Return transcripts and digests of parts."""
    made = CaseFile("digests", "Section 2: transcripts and digests. Parts that move from one to "
                    "the next give other digests.", OPERATIONS)
    lists: tuple[list[str], ...] = (
        [], [""], ["", ""], ["00"], ["0102", "03"], ["01", "0203"], ["010203"], [bytes(100).hex()])
    for domain in ("", "bdn/header", "bdn/é"):
        for parts in lists:
            name = f"{domain!a} of {len(parts)} parts, {sum(map(len, parts)) // 2} bytes"
            made.add(name, "transcript", domain=domain, parts=parts)
            made.add(name, "digest", domain=domain, parts=parts)
    return made


def trees() -> CaseFile:
    """Return Merkle roots and paths, good and bad, and blobs."""
    made = CaseFile("merkle", "Section 6: Merkle roots, inclusion and consistency paths (RFC 6962 "
                    "and 9162), and blobs.", OPERATIONS)
    leaves = [bytes([i]) * i for i in range(8)]
    for size in range(9):
        made.add(f"{size} leaves", "merkle_root", leaves=[leaf.hex() for leaf in leaves[:size]])
    for size in (1, 2, 3, 5, 8):
        root = merkle.root(leaves[:size]).hex()
        for index in range(size):
            path = [step.hex() for step in merkle.inclusion_proof(leaves[:size], index)]
            given: Given = {"leaf": leaves[index].hex(), "index": index, "size": size, "path": path,
                     "root": root}
            made.add(f"leaf {index} of {size}", "merkle_path", **given)
            wrong: dict[str, Given] = {
                "another leaf": {"leaf": "ff"}, "another root": {"root": "00" * 32},
                "index beyond the end": {"index": size}, "a path of short hashes": {"path": ["00"]},
                "a longer path": {"path": [*path, "00" * 32]}}
            if path:
                wrong["a shorter path"] = {"path": path[:-1]}
                wrong["a changed step"] = {"path": [changed(bytes.fromhex(path[0]), 5).hex(),
                                                    *path[1:]]}
            if index in (0, size - 1):
                made.refuse(f"leaf {index} of {size}", "merkle_path", given, wrong)
    for old, new in ((1, 2), (2, 5), (3, 7), (4, 8), (6, 8), (7, 7)):
        path = [step.hex() for step in merkle.consistency_proof(leaves[:new], old)]
        given = {"old_size": old, "new_size": new, "old_root": merkle.root(leaves[:old]).hex(),
                 "new_root": merkle.root(leaves[:new]).hex(), "path": path}
        made.add(f"{old} to {new} leaves", "merkle_consistency", **given)
        made.refuse(f"{old} to {new} leaves", "merkle_consistency", given, {
            "another root": {"new_root": "00" * 32}, "a longer path": {"path": [*path, "00" * 32]}})
    data = pack_blob(leaves)
    given = {"data": data.hex(), "root": merkle.root(leaves).hex(), "chunks": 8, "size": len(data)}
    made.add("blob", "blob", **given)
    made.refuse("blob", "blob", given, {
        "another size": {"size": len(data) + 1}, "another count": {"chunks": 7},
        "another root": {"root": "00" * 32}, "no list": {"data": "40", "size": 1},
        "a byte more": {"data": data.hex() + "00", "size": len(data) + 1}})
    return made


def state() -> CaseFile:
    """Return state roots after writes, and proofs."""
    made = CaseFile("state", "Section 8: roots of the state tree after writes, and proofs of "
                    "presence and absence.", OPERATIONS)
    writes = [["learning", bytes_of(f"key {i}", 3).hex(), bytes_of(f"value {i}", i).hex()]
              for i in range(9)]
    for count in range(10):
        made.add(f"{count} cells", "state_root", writes=writes[:count])
    made.add("in another order", "state_root", writes=writes[::-1])
    made.add("one deleted", "state_root", writes=[*writes, [*writes[4][:2], None]])
    made.add("all deleted", "state_root", writes=[*writes, *([*w[:2], None] for w in writes)])
    made.add("one rewritten", "state_root", writes=[*writes, [*writes[0][:2], "ff"]])
    made.add("empty key and value", "state_root", writes=[["ledger", "", ""]])
    tree = LedgerState().apply(
        {(c, bytes.fromhex(k)): bytes.fromhex(v or "") for c, k, v in writes})
    root = tree.root.hex()
    for name, key in (("present", bytes.fromhex(writes[3][1])), ("absent", b"absent"),
                      ("absent in a gap", b"none 4")):
        proof = tree.prove("learning", key)
        made.add(name, "state_proof", proof=encode_record(proof).hex(), root=root)
        wrong = {
            "another root": (proof, "00" * 32),
            "another value": (StateProof(proof.contract, key, b"other", proof.siblings, None),
                              root),
            "a sibling less": (StateProof(proof.contract, key, proof.value, proof.siblings[1:],
                                          proof.other), root),
            "another contract": (StateProof("mining", key, proof.value, proof.siblings,
                                            proof.other), root),
        }
        for what, (bad, against) in wrong.items():
            made.add(f"{name}: {what}", "state_proof", valid=False,
                     proof=encode_record(bad).hex(), root=against)
    made.add("hidden cell", "state_proof", valid=False, root=root, proof=encode_record(StateProof(
        "learning", bytes.fromhex(writes[3][1]), None,
        tree.prove("learning", bytes.fromhex(writes[3][1])).siblings, None)).hex())
    return made


# --- identities ---------------------------------------------------------------------------------


def identities() -> CaseFile:
    """Return addresses and signatures, with the published edge cases of Ed25519."""
    made = CaseFile("identities", "Section 3: addresses, signatures under a domain, and which "
                    "Ed25519 signatures are valid. The edge cases are those of Chalkias, Garillot "
                    "and Nikolaenko (2020), in the order of "
                    "github.com/novifinancial/ed25519-speccheck, cases.txt.", OPERATIONS)
    for name in ("alice", "bob"):
        seed = bytes_of(name)
        key = made.add(name, "identity", seed=seed.hex())["public_key"]
        for domain in ("bdn/transaction", "bdn/commit"):
            signature = made.add(f"{name} signs {domain}", "sign", seed=seed.hex(), domain=domain,
                                 message="0102")
            given = {"public_key": key, "domain": domain, "message": "0102",
                     "signature": signature}
            made.add(f"{name}, {domain}", "verify", **given)
            data = bytes.fromhex(signature)
            s = int.from_bytes(data[32:], "little") + ORDER
            made.refuse(f"{name}, {domain}", "verify", given, {
                    "another domain": {"domain": "bdn/hello"}, "another message": {"message": "01"},
                    "another key": {"public_key": Identity.from_secret(bytes_of("eve")
                                                                       ).public_key.hex()},
                    "changed R": {"signature": changed(data, 3).hex()},
                    "changed S": {"signature": changed(data, 40).hex()},
                    "S + L": {"signature": (data[:32] + s.to_bytes(32, "little")).hex()},
                    "63 bytes": {"signature": signature[:-2]},
                    "65 bytes": {"signature": signature + "00"}})
    for number, (message, key, signature) in enumerate(ED25519_CASES):
        made.add(f"published case {number}", "verify_ed25519", valid=number in ED25519_VALID,
                 public_key=key, message=message, signature=signature)
    for y in (0, 1, P - 1, P, P + 1):
        made.add(f"key with y = {y}" if y < 2 else f"key with y = p + {y - P}", "verify_ed25519",
                 valid=False, public_key=y.to_bytes(32, "little").hex(), message="00",
                 signature="01" + "00" * 63)
    for device in ("alice", "bob"):
        made.add(f"{device}'s rank", "draw_rank", seed=bytes_of("seed").hex(),
                 address=bytes_of(device, 20).hex())
    return made


# --- the group key ------------------------------------------------------------------------------


def group_key() -> CaseFile:
    """Return wrapped keys and sealed shares."""
    made = CaseFile("group_key", "Sections 12 and 16: contexts, the group key wrapped to a device, "
                    "and shares sealed under it.", OPERATIONS)
    group, secret, ephemeral = bytes_of("group"), bytes_of("device"), bytes_of("ephemeral")
    own = ExchangeKey.from_secret(secret)
    places = made.add("contexts", "contexts", chain=bytes_of("chain").hex(), epoch=3,
                      phase="weights", address=bytes_of("alice", 20).hex(), index=2, device=1)
    wrapped = made.add("wrap", "wrap", group_key=group.hex(), recipient=own.public_key.hex(),
                       context=places["wrap"], ephemeral=ephemeral.hex())
    given = {"wrapped": wrapped, "secret": secret.hex(), "context": places["wrap"]}
    made.add("unwrap", "unwrap", **given)
    data = bytes.fromhex(wrapped)
    made.refuse("unwrap", "unwrap", given, {"another context": {"context": places["share"]},
                        "another device": {"secret": ephemeral.hex()},
                        "changed ephemeral key": {"wrapped": changed(data, 0).hex()},
                        "changed key": {"wrapped": changed(data, 40).hex()},
                        "changed tag": {"wrapped": changed(data, -1).hex()},
                        "cut": {"wrapped": wrapped[:-2]}, "small point":
                        {"wrapped": "00" * 32 + wrapped[64:]}})
    made.add("wrap to a small point", "wrap", valid=False, group_key=group.hex(),
             recipient="00" * 32, context=places["wrap"], ephemeral=ephemeral.hex())
    for count in (0, 1, 100):
        sealed = made.add(f"seal {count} bytes", "seal_share", group_key=group.hex(),
                          plaintext=bytes(count).hex(), context=places["holder"],
                          nonce=bytes_of("nonce", 12).hex())
        given = {"group_key": group.hex(), "sealed": sealed, "context": places["holder"]}
        made.add(f"open {count} bytes", "open_share", **given)
        made.refuse(f"open {count} bytes", "open_share", given, {
            "another holder": {"context": places["share"]},
            "another key": {"group_key": secret.hex()},
            "changed nonce": {"sealed": changed(bytes.fromhex(sealed), 0).hex()},
            "cut": {"sealed": sealed[:-2]}, "empty": {"sealed": ""}})
    return made
