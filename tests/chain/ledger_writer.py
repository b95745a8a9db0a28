"""A process that adds blocks to a ledger until it is killed; its own command kills many.

    python tests/chain/ledger_writer.py LEDGER           write, telling each stored height
    python tests/chain/ledger_writer.py --kills 100      kill such a writer at 100 random instants
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bdn.chain import CallTransaction, Ledger, Store, pack_blob, sign_transaction, verify_ledger
from bdn.identity import Identity
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, sign_commit


def members(kind: str, count: int) -> list[Identity]:
    """The keys of the tests' chain, by the seed that its fixture uses."""
    rng = SeededRandomness(1)
    return [Identity.generate(rng.substream(f"{kind} {i}")) for i in range(count)]


def write_blocks(path: str) -> None:
    """Add a block with a blob each, and tell the height once it is stored. Never returns."""
    device, edges = members("device", 1)[0], members("edge", 4)
    ledger = Ledger.open(path)
    print(ledger.height, flush=True)
    while True:
        number = ledger.height + 1
        ledger.put_blob(pack_blob([b"%d" % number * 500]))
        call = CallTransaction("learning", "note", ("n", b"%d" % number))
        nonce = ledger.next_nonce(device.address)
        envelope = sign_transaction(device, ledger.chain, nonce, 100_000, call)
        block = ledger.propose(kind="auxiliary", epoch=0, time=ledger.head.time + 1,
                               proposer=edges[0].address, transactions=[envelope]).block
        signatures = tuple(
            (i, sign_commit(edges[i], ledger.chain, 0, number, block.digest)) for i in range(3))
        ledger.commit(block, Seal(0, number, block.digest, signatures))
        print(number, flush=True)


def kill_many(kills: int, seed: int) -> None:
    """Kill a writer again and again on one ledger; raises when anything sealed is lost."""
    from conftest import new_chain

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        new_chain(path).ledger.close()
        for number in range(1, kills + 1):
            command = [sys.executable, __file__, str(path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                told = int(child.stdout.readline())
                time.sleep(rng.uniform(0, 0.2))
                child.send_signal(signal.SIGKILL)
                for line in child.stdout:
                    told = int(line) if line.endswith("\n") else told
            with Store.open(path, read_only=True) as store:
                if store.height() < told:
                    raise SystemExit(f"kill {number}: {told} was told, {store.height()} is there")
                verify_ledger(store)
                print(f"kill {number}: height {store.height()}, verified")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ledger", nargs="?")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.kills:
        kill_many(options.kills, options.seed)
    elif options.ledger:
        write_blocks(options.ledger)
    else:
        parser.error("a ledger's file, or --kills")
