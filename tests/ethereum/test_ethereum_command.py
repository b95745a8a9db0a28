"""`bdn anchor`, `bdn anchor verify` and `bdn anchor challenge`, in process and on a live node."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bdn.cli import invoke
from bdn.ethereum import Record, anchor_run, connect, falsify

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("extra")


@pytest.fixture
def bdn(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: (exit status, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = invoke([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


# --- in process ---------------------------------------------------------------------------------


def test_anchor_in_process(folder: Path, bdn: Run) -> None:
    """To look at, and for what it costs: nothing is left behind."""
    status, out, _ = bdn("anchor", folder, "--json")
    assert status == 0
    outcome = json.loads(out)
    assert [item["what"] for item in outcome["transactions"]][2:] == [
        "anchored epoch 1, gradient", "anchored epoch 1, weights", "anchored epoch 2, gradient",
        "anchored epoch 2, weights", "anchored epoch 2, loss"]
    assert all(item["gas"] > 50_000 for item in outcome["transactions"])
    assert not (folder / "anchor.json").exists()


def test_challenge_in_process(folder: Path, bdn: Run) -> None:
    """The honest aggregate stands (status 0); a lie is proven (status 1)."""
    options = ("anchor", "challenge", folder, "--epoch", 1, "--index", 2)
    status, out, _ = bdn(*options)
    assert status == 0
    assert "the aggregate is right there" in out
    status, out, _ = bdn(*options, "--lie", "--json")
    assert status == 1
    verdict = json.loads(out)
    assert (verdict["lie"], verdict["index"]) == (True, 2)
    assert verdict["gas"] > 90_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "{folder}", "--new"), "--rpc URL"),
        (("{folder}", "--chain-id", "1"), "--rpc URL"),
        (("challenge", "{folder}", "--epoch", "1", "--index", "99"), "ciphertexts 0 to 5"),
        (("challenge", "{folder}", "--epoch", "9", "--index", "0"), "no aggregate of epoch 9"),
        (("challenge", "{folder}", "--epoch", "1", "--index", "0", "--lie", "--rpc", "http://x"),
         "leave out --rpc"),
        (("challenge", "{folder}", "--epoch", "1", "--index", "-1", "--lie"), "no ciphertext -1"),
        (("{folder}/absent",), "there is no ledger"),
        (("verify", "{folder}", "--rpc", "http://127.0.0.1:1"), "no Ethereum node answers"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    folder: Path, bdn: Run, arguments: tuple[str, ...], words: str
) -> None:
    status, out, err = bdn("anchor", *(item.format(folder=folder) for item in arguments))
    assert (status, out) == (2, "")
    assert words in err
    assert err.startswith("bdn: ")
    assert err.count("\n") == 1


def test_without_the_extra(folder: Path) -> None:
    """A fresh interpreter in which web3 and its kin cannot be found: one line, status 2."""
    code = ("import sys\n"
            "for name in ('web3', 'eth_tester', 'eth_utils', 'eth_abi'): sys.modules[name] = None\n"
            "from bdn.cli import main\n"
            f"main(['anchor', {str(folder)!r}])\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'bdn[ethereum]'" in done.stderr
    assert done.stderr.count("\n") == 1


# --- live ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_on_a_live_node(folder: Path, bdn: Run, anvil: str) -> None:
    """Over JSON-RPC, under both sets of rules: anchor, again, verify, challenge."""
    rpc = ("--rpc", anvil)
    status, _, err = bdn("anchor", "verify", folder, *rpc)
    assert (status, "not anchored yet" in err) == (2, True)
    assert bdn("anchor", folder, *rpc)[0] == 0
    status, out, _ = bdn("anchor", folder, *rpc, "--json")
    assert (status, json.loads(out)["transactions"]) == (0, [])
    status, out, _ = bdn("anchor", "verify", folder, *rpc)
    assert (status, "5 rounds" in out) == (0, True)
    status, out, _ = bdn("anchor", "challenge", folder, "--epoch", 2, "--index", 5, *rpc)
    assert (status, "right there" in out) == (0, True)
    for options, words in ((("--chain-id", "1"), "is of chain 31337, not 1"),
                           (("--contract", "0x" + "12" * 20), "no contract at")):
        status, _, err = bdn("anchor", "verify", folder, *rpc, *options)
        assert (status, words in err) == (2, True)


@pytest.mark.slow
def test_a_lie_on_a_live_node(folder: Path, packed_run: Any, bdn: Run, anvil: str) -> None:
    """An edge server anchors a false aggregate: verify names it, challenge convicts it."""
    plan, rpc = packed_run.plan, ("--rpc", anvil)
    liar, blob = falsify(plan.find(1, "weights"), plan.setup, 4, packed_run.store.blob)
    anchor_run(connect(anvil), replace(plan, rounds=(liar,)), Record(folder))
    status, _, err = bdn("anchor", folder, *rpc)
    assert (status, "CONFLICT: epoch 1, weights" in err) == (1, True)
    status, out, _ = bdn("anchor", "verify", folder, *rpc, "--json")
    assert status == 1
    assert json.loads(out)["differences"] == [
        "epoch 1, weights: anchored otherwise than the ledger has it (aggregate_root)"]
    shown = ("anchor", "challenge", folder, "--epoch", 1, "--index", 4, *rpc)
    status, _, err = bdn(*shown)
    assert (status, "lacks the anchored aggregate" in err) == (2, True)
    (folder / "claimed.blob").write_bytes(blob)
    status, out, _ = bdn(*shown, "--claimed", folder / "claimed.blob")
    assert (status, "LIE PROVEN" in out) == (1, True)
    status, _, err = bdn(*shown, "--claimed", folder / "claimed.blob")
    assert (status, "proven false already" in err) == (2, True)
    status, _, err = bdn("anchor", "verify", folder, *rpc)
    assert (status, "ciphertext 4 was proven false" in err) == (1, True)
