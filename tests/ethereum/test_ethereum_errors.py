"""What can go wrong between a run and a node: one clear line each, nothing half-done."""

import http.server
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bdn.errors import UsageError
from bdn.ethereum import (
    Account,
    AnchorError,
    Deployment,
    EthereumNode,
    FundsError,
    NodeError,
    Record,
    RevertedError,
    WrongChainError,
    anchor_run,
    connect,
    find_contract,
    gather_evidence,
    in_process,
    load_artefact,
)
from bdn.ethereum.extra import load
from bdn.ethereum.node import _keys
from bdn.ethereum.refusals import REFUSALS, translated

SECRET = "11" * 32


def one_line(error: BaseException) -> str:
    """The message, which must be a single line."""
    text = str(error)
    assert text, error
    assert "\n" not in text, text
    return text


# --- the extra ----------------------------------------------------------------------------------


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eth_tester", None)
    with pytest.raises(UsageError, match=r"pip install 'bdn\[ethereum\]'") as caught:
        in_process()
    one_line(caught.value)


def test_reading_a_plan_needs_no_extra(
    packed_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything of web3 is imported when it is needed, and not before."""
    for name in ("web3", "eth_abi", "eth_utils"):
        monkeypatch.setitem(sys.modules, name, None)
    assert packed_run.plan.find(1, "weights")
    with pytest.raises(UsageError, match="bdn"):
        load("web3")


# --- the node -----------------------------------------------------------------------------------


class NotANode(http.server.BaseHTTPRequestHandler):
    """Answers everything with a page."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a server that is no Ethereum node."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotANode)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("extra")
class TestNode:
    """Connecting."""

    def test_unreachable(self) -> None:
        with pytest.raises(NodeError, match=r"no Ethereum node answers at http://127\.0\.0\.1:1"):
            connect("http://127.0.0.1:1")

    def test_something_else_listens_there(self, web_server: str) -> None:
        with pytest.raises(NodeError) as caught:
            connect(web_server)
        assert web_server in one_line(caught.value)

    @pytest.mark.parametrize("url", ["localhost:8545", "ws://localhost:8545", ""])
    def test_an_address_of_another_kind(self, url: str) -> None:
        with pytest.raises(UsageError, match="begins with http"):
            connect(url)


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("extra")
class TestKeys:
    """The file of private keys."""

    def test_keys_are_read_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        path.write_text(f"0x{SECRET}\n{'22' * 32}\n")
        first, second = _keys(path)
        assert first.address == "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
        assert second.address == "0x1563915e194D8CfBA1943570603F7606A3115508"

    @pytest.mark.parametrize("text", ["", "0x1234", SECRET + "00", "zz" * 32, "00" * 32])
    def test_a_bad_file_is_refused_without_showing_it(self, tmp_path: Path, text: str) -> None:
        """The line names the key's number, never the key."""
        path = tmp_path / "keys"
        path.write_text(text)
        with pytest.raises(UsageError, match="private key") as caught:
            _keys(path)
        assert not text or text not in one_line(caught.value)

    def test_a_key_given_twice(self, tmp_path: Path) -> None:
        """One account speaks for one edge server."""
        path = tmp_path / "keys"
        path.write_text(f"{SECRET}\n0x{SECRET}\n")
        with pytest.raises(UsageError, match="private key twice"):
            _keys(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read the keys"):
            _keys(tmp_path / "absent")


# --- accounts and contracts ---------------------------------------------------------------------


def signer() -> Account:
    """An account whose key we hold, and which holds nothing."""
    key = load("eth_account").Account.from_key("0x" + SECRET)
    return Account(key.address, key)


def test_an_empty_account_is_told_so(packed_run: Any, node: EthereumNode, tmp_path: Path) -> None:
    """Not enough funds: nothing is sent, nothing recorded."""
    poor = EthereumNode(node.web3, "here", [signer()])
    with pytest.raises(FundsError, match=r"send it some|cannot pay") as caught:
        anchor_run(poor, packed_run.plan, Record(tmp_path))
    one_line(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_account_that_cannot_pay_the_most_that_it_may_cost(
    packed_run: Any, anvil: str
) -> None:
    """On a live node the check is ours, before sending, and names both amounts."""
    web3, account = connect(anvil).web3, signer()
    web3.provider.make_request("anvil_setBalance", [account.address, hex(10**14)])
    with pytest.raises(FundsError, match="may cost") as caught:
        anchor_run(EthereumNode(web3, anvil, [account]), packed_run.plan, Record(None))
    assert "0.000100 ether" in one_line(caught.value)


def test_our_own_key_signs(packed_run: Any, node: EthereumNode) -> None:
    """With a key instead of the node's account the whole run is anchored under our signature."""
    account = signer()
    node.web3.eth.wait_for_transaction_receipt(node.web3.eth.send_transaction(
        {"from": node.accounts[0].address, "to": account.address, "value": 10**18}))
    plan = replace(packed_run.plan, rounds=packed_run.plan.rounds[:2])
    outcome = anchor_run(EthereumNode(node.web3, "here", [account]), plan, Record(None))
    assert len(outcome.gas) == 4


def test_transactions_in_the_air_are_awaited(
    node: EthereumNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted command sent must be mined before the contract is asked what it has."""
    mined, waits = [3], []

    def count(_: str, block: str) -> int:
        return 5 if block == "pending" else mined[0]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        mined[0] += 1

    monkeypatch.setattr(node.web3.eth, "get_transaction_count", count)
    monkeypatch.setattr("bdn.ethereum.node.time.sleep", sleep)
    node.settle(node.accounts[0])
    assert (mined, len(waits)) == ([5], 2)
    mined[0] = 3
    monkeypatch.setattr("bdn.ethereum.node.MINED_SECONDS", -1)
    with pytest.raises(NodeError, match="not mined") as caught:
        node.settle(node.accounts[0])
    one_line(caught.value)


def test_no_accounts(packed_run: Any, node: EthereumNode) -> None:
    with pytest.raises(UsageError, match="--keys FILE"):
        anchor_run(EthereumNode(node.web3, "here", []), packed_run.plan, Record(None))


def test_a_contract_of_another_version(packed_run: Any, node: EthereumNode) -> None:
    """Other code at the address is refused before anything is asked of it."""
    factory = node.web3.eth.contract(abi=[], bytecode="0x600160005360016000f3")
    name = factory.constructor().transact({"from": node.accounts[0].address})
    address = node.web3.eth.wait_for_transaction_receipt(name)["contractAddress"]
    for place, words in ((address, "not this version's Anchor"),
                         (node.accounts[3].address, "no contract at")):
        with pytest.raises(AnchorError, match=words) as caught:
            find_contract(node, packed_run.plan.setup, Record(None), place)
        one_line(caught.value)
    with pytest.raises(UsageError, match="no Ethereum address"):
        find_contract(node, packed_run.plan.setup, Record(None), "0x12")


def test_immutable_values_do_not_make_another_version(extra: None) -> None:
    """Only the holes may differ: one byte beside them, or one more, is another contract."""
    artefact = load_artefact()
    code = bytearray(artefact.runtime)
    start, length = artefact.holes[0]
    code[start : start + length] = b"\xaa" * length
    assert artefact.is_code(bytes(code))
    code[start - 1] ^= 1
    assert not artefact.is_code(bytes(code))
    assert not artefact.is_code(artefact.runtime + b"\0")


def test_another_ledgers_contract(packed_run: Any, masked_run: Any, chain: Any) -> None:
    masked = chain.record[masked_run.plan.setup.chain.hex()]
    address = masked.all[0].contract
    with pytest.raises(WrongChainError, match="anchors ledger") as caught:
        find_contract(chain.node, packed_run.plan.setup, Record(None), address)
    one_line(caught.value)


def test_anchored_on_another_ethereum_chain(
    packed_run: Any, node: EthereumNode, tmp_path: Path
) -> None:
    """Development chains share an id: the genesis block tells them apart."""
    record = Record(tmp_path)
    with pytest.raises(UsageError, match="not anchored yet"):
        find_contract(node, packed_run.plan.setup, record)
    record.keep(Deployment(node.chain_id, "0x" + "ab" * 32, node.accounts[0].address))
    with pytest.raises(WrongChainError, match="anchored on chain") as caught:
        find_contract(node, packed_run.plan.setup, record)
    one_line(caught.value)


def test_a_recorded_deployment_that_never_happened_is_made_again(
    packed_run: Any, node: EthereumNode, tmp_path: Path
) -> None:
    """The record is written before the transaction is sent."""
    record = Record(tmp_path)
    nowhere = "0x" + "00" * 19 + "77"
    record.keep(Deployment(node.chain_id, node.genesis, nowhere))
    outcome = anchor_run(node, replace(packed_run.plan, rounds=()), Record(tmp_path))
    assert outcome.contract != nowhere
    assert Record(tmp_path).all == (
        Deployment(node.chain_id, node.genesis, outcome.contract),)


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"deployments": [{"chain_id": 1}]}',
    '{"deployments": [{"chain_id": "1", "genesis": "", "contract": ""}]}',
])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "anchor.json").write_text(text)
    with pytest.raises(UsageError, match=r"anchor\.json is damaged") as caught:
        Record(tmp_path)
    one_line(caught.value)


# --- reverts ------------------------------------------------------------------------------------


def test_every_refusal_of_the_contract_has_a_sentence() -> None:
    """The table and the contract's errors are the same set, with as many places as arguments."""
    errors = {item["name"]: item["inputs"] for item in load_artefact().abi
              if item["type"] == "error"}
    assert set(errors) == set(REFUSALS)
    for name, inputs in errors.items():
        sentence = REFUSALS[name].format(*(f"<{i}>" for i in range(len(inputs))))
        assert sentence.count("<") <= len(inputs)


def test_a_revert_without_a_reason(packed_run: Any, node: EthereumNode, anchored: Any) -> None:
    """Broken call data: the contract gives no error of its own."""
    contract = anchored(replace(packed_run.plan, rounds=()))
    with pytest.raises(RevertedError) as caught, translated("here"):
        node.web3.eth.call({"to": contract.address, "data": "0x12345678"})
    assert "reverted" in one_line(caught.value)


# --- evidence -----------------------------------------------------------------------------------


def test_evidence_that_cannot_be_had(packed_run: Any) -> None:
    """Without the leaves nothing can be proven, and the line says which are missing."""
    plan, store = packed_run.plan, packed_run.store
    item = plan.find(1, "weights").round
    first, *rest = item.contributions
    for changed, words in (
        (replace(item, aggregate_root=bytes(32)), "lacks the anchored aggregate"),
        (replace(item, contributions=(replace(first, root=bytes(32)), *rest)), "'s update"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            gather_evidence(changed, plan.setup, 0, store.blob)
        one_line(caught.value)
    with pytest.raises(UsageError, match="ciphertexts 0 to 5; there is no 6"):
        gather_evidence(item, plan.setup, 6, store.blob)
    with pytest.raises(UsageError, match="another root"):
        gather_evidence(item, plan.setup, 0, store.blob, store.blob(first.root))


def test_a_contract_that_does_not_answer(node: EthereumNode) -> None:
    """As when it vanishes between two calls: a chain that was reorganised or started anew."""
    elsewhere = node.web3.eth.contract(address=node.accounts[4].address, abi=load_artefact().abi)
    with pytest.raises(AnchorError, match="does not answer"):
        node.call(elsewhere.functions.chain)
