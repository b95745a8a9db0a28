"""An Ethereum node and the accounts that pay: in this process, or over JSON-RPC.

Every call and transaction goes through `EthereumNode`, which turns trouble into one clear line
(`bdn.ethereum.refusals`) and never sends a transaction that would fail or cannot be paid for.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdn.errors import UsageError
from bdn.ethereum.artefact import load_artefact
from bdn.ethereum.errors import (
    AnchorError,
    FundsError,
    NodeError,
    RevertedError,
    WrongChainError,
)
from bdn.ethereum.extra import load
from bdn.ethereum.refusals import translated

REQUEST_SECONDS = 30
MINED_SECONDS = 180
"""How long a transaction may take before we give up waiting; a slot has 12 seconds."""

SPARE_GAS = 20
"""One part in so many is added to the estimate: state may change before the block is made."""

WEI = 10**18


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs a transaction.

    Attributes:
        address: checksummed hexadecimal.
        key: signs here; None where the node holds the account.
    """

    address: str
    key: Any = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that stands in a block.

    Attributes:
        gas: that it used.
        block: number of its block.
        contract: address of the contract that it made, if it did.
    """

    gas: int
    block: int
    contract: str | None


class EthereumNode:
    """A node, by web3.

    Attributes:
        where: how people know it.
        accounts: who may sign, the first one by default.
        chain_id: of the Ethereum chain.
        genesis: hash of its block 0, which tells two development chains of one id apart.
    """

    def __init__(self, web3: Any, where: str, accounts: Sequence[Account]) -> None:
        self.web3 = web3
        self.where = where
        self.accounts = tuple(accounts)
        with translated(where):
            self.chain_id = int(web3.eth.chain_id)
            self.genesis = "0x" + bytes(web3.eth.get_block(0)["hash"]).hex()

    # --- reading --------------------------------------------------------------------------------

    def contract_at(self, address: str) -> Any:
        """The Anchor at ``address``; raises `AnchorError` where another code stands, or none."""
        with translated(self.where):
            code = bytes(self.web3.eth.get_code(address))
        if not code:
            raise AnchorError(f"there is no contract at {address} on chain {self.chain_id}")
        if not load_artefact().is_code(code):
            raise AnchorError(f"the contract at {address} is not this version's Anchor; deploy "
                                "anew with --new, or use the version of bdn that deployed it")
        return self.web3.eth.contract(address=address, abi=load_artefact().abi)

    def code_size(self, address: str) -> int:
        """Bytes of code at ``address``: 0 where there is no contract."""
        with translated(self.where):
            return len(self.web3.eth.get_code(address))

    def call(self, function: Any, *arguments: Any) -> Any:
        """What a view function answers; raises `RevertedError`, `AnchorError` or `NodeError`."""
        with translated(self.where):
            return function(*arguments).call()

    def logs(self, event: Any, block: int, **topics: Any) -> list[Any]:
        """The events of one kind in one block."""
        with translated(self.where):
            return list(event.get_logs(from_block=block, to_block=block, argument_filters=topics))

    # --- sending --------------------------------------------------------------------------------

    def next_contract_address(self, account: Account) -> str:
        """Where the next contract that ``account`` deploys will stand."""
        with translated(self.where):
            nonce = self.web3.eth.get_transaction_count(account.address, "pending")
        sender = bytes.fromhex(account.address[2:])
        encoded = load("rlp").encode([sender, nonce.to_bytes(8, "big").lstrip(b"\0")])
        utils = load("eth_utils")
        return str(utils.to_checksum_address(utils.keccak(encoded)[12:]))

    def settle(self, account: Account) -> None:
        """Wait for transactions that an interrupted command of ``account`` left in the air.

        Raises `NodeError` where they are not mined in time.
        """
        deadline = time.monotonic() + MINED_SECONDS
        while True:
            with translated(self.where):
                count = self.web3.eth.get_transaction_count
                if count(account.address, "pending") <= count(account.address, "latest"):
                    return
            if time.monotonic() > deadline:
                raise NodeError(f"account {account.address} has transactions that are not mined; "
                                "run the command again once they are")
            time.sleep(1.0)

    def send(
        self, call: Any, account: Account, ready: Callable[[], None] = lambda: None
    ) -> Sent:
        """Send a prepared call or deployment and wait for its block.

        It is estimated first: what the contract would refuse, or the account cannot pay, is never
        sent. ``ready`` is called when nothing stands against sending any more. Raises
        `RevertedError`, `FundsError` or `NodeError`.
        """
        with translated(self.where):
            estimate = int(call.estimate_gas({"from": account.address}))
            gas = estimate + estimate // SPARE_GAS
            fields = call.build_transaction({
                "from": account.address, "gas": gas,
                "nonce": self.web3.eth.get_transaction_count(account.address, "pending"),
            })
            self._check_funds(account, gas * int(fields.get("maxFeePerGas")
                                                 or fields.get("gasPrice", 0)))
            ready()
            name = self._hand_in(fields, account)
            receipt = self.web3.eth.wait_for_transaction_receipt(name, timeout=MINED_SECONDS)
        if receipt["status"] != 1:
            raise RevertedError("a transaction that should have passed failed in its block: "
                                "another one came before it; run the command again")
        return Sent(int(receipt["gasUsed"]), int(receipt["blockNumber"]),
                    receipt["contractAddress"])

    def _hand_in(self, fields: Any, account: Account) -> Any:
        if account.key is None:
            return self.web3.eth.send_transaction(fields)
        signed = account.key.sign_transaction(fields)
        return self.web3.eth.send_raw_transaction(signed.raw_transaction)

    def _check_funds(self, account: Account, cost: int) -> None:
        balance = int(self.web3.eth.get_balance(account.address))
        if balance < cost:
            raise FundsError(f"account {account.address} holds {balance / WEI:.6f} ether, and the "
                             f"next transaction may cost {cost / WEI:.6f}; send it some")


# --- making one ---------------------------------------------------------------------------------


def in_process() -> EthereumNode:
    """A chain of its own in this process (eth-tester with py-evm): gone when the process ends."""
    tester, web3 = load("eth_tester"), load("web3")
    chain = tester.EthereumTester(tester.PyEVMBackend())
    connection = web3.Web3(web3.EthereumTesterProvider(chain))
    accounts = [Account(address) for address in connection.eth.accounts]
    return EthereumNode(connection, "the in-process chain", accounts)


def connect(url: str, keys: Path | None = None, chain_id: int | None = None) -> EthereumNode:
    """The node at ``url`` (http or https).

    Args:
        url: of its JSON-RPC interface.
        keys: a file of private keys, one in hexadecimal a line; without it, the node's accounts.
        chain_id: refuse a node of any other chain.

    Raises `NodeError`, `WrongChainError`, or `UsageError` for keys that cannot be read.
    """
    web3 = load("web3")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"a node's address begins with http:// or https://, not {url!r}")
    provider = web3.Web3.HTTPProvider(
        url, request_kwargs={"timeout": REQUEST_SECONDS}, exception_retry_configuration=None)
    connection = web3.Web3(provider)
    accounts = _keys(keys) if keys is not None else None
    node = EthereumNode(connection, url, accounts or ())
    if chain_id is not None and node.chain_id != chain_id:
        raise WrongChainError(f"the node at {url} is of chain {node.chain_id}, not {chain_id}")
    if accounts is None:
        with translated(url):
            node.accounts = tuple(Account(address) for address in connection.eth.accounts)
    return node


def _keys(path: Path) -> list[Account]:
    make = load("eth_account").Account.from_key
    accounts = []
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the keys in {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            key = make(line)
        except ValueError as error:  # the library's message may repeat the secret: leave it out
            raise UsageError(f"{path}: key {number} is no private key of 32 bytes in hexadecimal"
                             ) from error
        accounts.append(Account(key.address, key))
    if not accounts:
        raise UsageError(f"{path} holds no private key")
    if len({account.address for account in accounts}) != len(accounts):
        raise UsageError(f"{path} holds a private key twice; each edge server has its own account")
    return accounts
