"""One fixed ledger, built anew from fixed keys: what every Python must agree on.

    python tests/chain/fixed_ledger.py            build it under this Python, print digests as JSON
    python tests/chain/fixed_ledger.py --pythons  build it under every Python here, and compare

The calls go wrong in as many ways as there are: names from plane 1 that are new in some version of
Unicode, arguments of every type, failures of every operation, with and without enough gas. Each
other Python gets a virtual environment below the given ``--environments`` folder (by default a
temporary one), with the packages that a ledger needs; where they cannot be had, it is named and
left out. The exit status is 1 when two Pythons disagree.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy>=1.26", "gmpy2>=2.2", "cryptography>=43")
"""What a ledger needs."""

PER_BLOCK = 50
NAMES = ("\U0001fae8", "\U0001f6dc", "\u1c89", "\ua7cb", "\u202e", "\x07", "a" * 300, "", "main",
         "\u0660", "\u00aa", "\ud7ff")
"""Function names that some table of Unicode knows and another does not, or that are long or odd."""

SOURCE = '''
log: any
names: map[str, int]

@public
def main(x: any) -> any:
    storage.log = x
    emit("seen", x=x)
    return x

@public
def fail(what: int, x: any):
    storage.names["before"] = 1
    if what == 0:
        require(False, x)
    elif what == 1:
        y = {}[x]
    elif what == 2:
        y = [1][x]
    elif what == 3:
        y = x + [1]
    elif what == 4:
        y = 1 // 0
    elif what == 5:
        y = int(x)
    elif what == 6:
        y = x.decode()
    elif what == 7:
        storage.names[x] = 1
    elif what == 8:
        y = sorted(x)
    elif what == 9:
        y = 2 ** 9000
    elif what == 10:
        y = x.split(x)
    elif what == 11:
        y = [z for z in range(10 ** 9)]
    elif what == 12:
        y = vector_power(x, 3, 1)
    elif what == 13:
        y = from_hex(x)
    elif what == 14:
        y = signature_verify(x, x, x, x)
    elif what == 15:
        y = str(10 ** 700)
'''
VALUES = ("\U0001fae8", "\u0661\u0662", "12", "", 5, -1, True, None, b"", b"\xff", [], [1, "a"], {},
          {"dict": [[1, 2]]}, 1 << 4000, "line\nbreak", "\u00df\u1e9e", 1 << 9000)


def build() -> dict[str, str]:
    """Digests of the head of a chain with all those calls in it, and of each block's receipts."""
    sys.path.insert(0, str(ROOT))
    from bdn.chain import (
        PBFT,
        CallTransaction,
        Envelope,
        Genesis,
        Ledger,
        build_genesis,
        decode_envelope,
        encode_envelope,
        header_digest,
        sign_transaction,
    )
    from bdn.chain.blocks import AUXILIARY, encode_receipt
    from bdn.chain.contracts.gas import LATEST
    from bdn.errors import BdnError
    from bdn.identity import Identity
    from bdn.seal import Seal, sign_commit

    edges = [Identity.from_secret(bytes([number]) * 32) for number in range(4)]
    sender = Identity.from_secret(b"d" * 32)
    genesis = Genesis(
        name="fixed", salt=b"fixed", consensus=PBFT, gas_table=LATEST, gas_limit=60_000,
        edges=tuple(edge.public_key for edge in edges), balances=((sender.address, 1),),
        contracts=(("odd", SOURCE),), generation_rate=60_000, time=0)
    block = build_genesis(genesis, edges[0]).block
    calls = [("odd", name, (5,)) for name in NAMES]
    calls += [(name, "main", (5,)) for name in NAMES]
    calls += [("odd", "main", (value,)) for value in VALUES]
    calls += [("odd", "fail", (what, value)) for what in range(16) for value in VALUES]
    result: dict[str, str] = {}
    ledger = Ledger.create(":memory:", genesis, block)
    waiting: list[Envelope] = []
    nonce = ledger.next_nonce(sender.address)
    for number, call in enumerate(calls):
        try:
            envelope = sign_transaction(sender, ledger.chain, nonce, 60_000, CallTransaction(*call))
            decode_envelope(encode_envelope(envelope))
        except (BdnError, ValueError):
            result[f"call {number}"] = "refused"
            continue
        waiting.append(envelope)
        nonce += 1
    for first in range(0, len(waiting), PER_BLOCK):
        proposal = ledger.propose(
            kind=AUXILIARY, epoch=0, time=ledger.head.time + 1, proposer=edges[0].address,
            transactions=waiting[first:first + PER_BLOCK])
        height = ledger.height + 1
        for position, receipt in enumerate(proposal.receipts):
            what = f"{receipt.status} {receipt.reason and receipt.reason.code}"
            result[f"block {height}, {position}: {what}"] = hashlib.sha256(
                encode_receipt(receipt)).hexdigest()
        signatures = tuple((i, sign_commit(edges[i], ledger.chain, 0, height,
                                           proposal.block.digest)) for i in range(3))
        ledger.commit(proposal.block, Seal(0, height, proposal.block.digest, signatures))
    result["head"] = header_digest(ledger.head).hex()
    ledger.close()
    return result


# --- every Python -------------------------------------------------------------------------------


def interpreters() -> Iterator[tuple[str, str]]:
    """(version, path) of one Python of each version from 3.11, in pyenv's folder or on the path."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(11, 20):
        found = [*map(str, sorted(versions.glob(f"3.{minor}.*/bin/python"))),
                 shutil.which(f"python3.{minor}")]
        for python in filter(None, found):
            probe = subprocess.run([python, "-c", ""], capture_output=True, check=False)
            if probe.returncode == 0:
                yield f"3.{minor}", python
                break


def environment(version: str, python: str, folder: Path) -> str | None:
    """A Python of ``version`` that has bdn's packages; ``None`` where they cannot be had."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    place = folder / version
    own = place / "bin" / "python"
    check = ["-c", "import numpy, gmpy2, cryptography"]
    for command in ([str(own), *check], [python, "-m", "venv", str(place)],
                    [str(own), "-m", "pip", "--quiet", "--disable-pip-version-check", "install",
                     "--only-binary", ":all:", *PACKAGES], [str(own), *check]):
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=300)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if command[1:] == check and done.returncode == 0:
            return str(own)
    return None


def compare(folder: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """(digests by version, versions that could not be asked)."""
    results, missing = {}, []
    for version, python in interpreters():
        own = environment(version, python, folder)
        if own is None:
            missing.append(version)
            continue
        done = subprocess.run([own, __file__], capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONHASHSEED": "7"})
        if done.returncode:
            raise SystemExit(f"{version}: {done.stderr}")
        results[version] = json.loads(done.stdout)
    return results, missing


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", action="store_true")
    parser.add_argument("--environments", type=Path)
    options = parser.parse_args()
    if not options.pythons:
        print(json.dumps(build()))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        results, missing = compare(options.environments or Path(temporary))
    for version in missing:
        print(f"Python {version}: left out, its packages cannot be had here")
    for version, digests in results.items():
        print(f"Python {version}: head {digests['head']}")
    return len({json.dumps(digests, sort_keys=True) for digests in results.values()}) != 1


if __name__ == "__main__":
    sys.exit(main())
