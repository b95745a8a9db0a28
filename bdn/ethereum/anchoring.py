"""Putting a run's ledger on Ethereum, and comparing the two.

Anchoring is a walk through what there is to do: deploy, register devices, anchor each round. The
contract says what is done already, so an interrupted walk is continued and nothing is done twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bdn.errors import UsageError
from bdn.ethereum.artefact import load_artefact
from bdn.ethereum.errors import AnchorError, RevertedError, WrongChainError
from bdn.ethereum.extra import load
from bdn.ethereum.node import Account, EthereumNode
from bdn.ethereum.plan import AnchorRound, Contribution, Plan, PlannedRound, Setup
from bdn.ethereum.record import Deployment, Record
from bdn.identity import address_of

BATCH = 100
"""Devices registered in one transaction: about 3 million gas."""

ROUND_TYPE = "(uint64,uint8,uint64,bytes32,bytes32,(bytes20,uint64,bytes32)[])"
"""The contract's ``AnchorRound`` as the ABI writes it."""

Told = Callable[[str, int], None]
"""Told of every transaction: what it did, and the gas that it used."""


@dataclass(slots=True)
class AnchorResult:
    """What `anchor_run` did.

    Attributes:
        contract: its address.
        gas: (what, gas) of each transaction sent, in order.
        already: rounds that were anchored before, as the ledger has them.
        conflicts: rounds that were anchored before, otherwise than the ledger has them.
    """

    contract: str
    gas: list[tuple[str, int]] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the contract keeps of a round.

    Attributes:
        commitment: keccak-256 of the ABI encoding of the round; zero where it is not anchored.
        edge: address of the account that anchored it.
        block: number of the Ethereum block.
        lie: 1 + the index that was proven false; 0 where none was.
    """

    commitment: bytes
    edge: str
    block: int
    lie: int

    @property
    def there(self) -> bool:
        """Whether the round is anchored at all."""
        return any(self.commitment)


# --- the contract's terms -----------------------------------------------------------------------


def round_argument(item: AnchorRound) -> tuple[Any, ...]:
    """A round as the contract takes it."""
    contributions = [(c.device, c.weight, c.root) for c in item.contributions]
    return (item.epoch, item.phase, item.height, item.block_digest, item.aggregate_root,
            contributions)


def commitment_of(item: AnchorRound) -> bytes:
    """The 32 bytes that the contract keeps of a round."""
    encoded = load("eth_abi").encode([ROUND_TYPE], [round_argument(item)])
    return bytes(load("eth_utils").keccak(encoded))


def read_anchored(node: EthereumNode, contract: Any, epoch: int, phase: int) -> Anchored:
    """What the contract keeps of (epoch, phase)."""
    return Anchored(*node.call(contract.functions.rounds, epoch, phase))


# --- anchoring ----------------------------------------------------------------------------------


def anchor_run(
    node: EthereumNode, plan: Plan, record: Record, told: Told = lambda *_: None,
    address: str | None = None, new: bool = False,
) -> AnchorResult:
    """Anchor everything that the ledger holds and the contract does not.

    Args:
        node: whose accounts are the edge servers'; account i speaks for edge server i, and the
            first one for those without an account.
        plan: what there is to anchor.
        record: where the run is anchored already; kept up to date.
        told: told of every transaction.
        address: anchor to this contract, instead of the recorded or a new one.
        new: deploy anew even where a contract is recorded.

    Raises this package's errors; running it again goes on where it stopped.
    """
    if not node.accounts:
        raise UsageError(f"{node.where} manages no accounts; give the edge servers' private keys "
                         "with --keys FILE")
    for account in node.accounts:
        node.settle(account)
    outcome = AnchorResult("")

    def tell(what: str, gas: int) -> None:
        outcome.gas.append((what, gas))
        told(what, gas)

    contract = _contract(node, plan.setup, record, tell, address, new)
    outcome.contract = contract.address
    edges = _edge_accounts(node, contract)
    _register(node, contract, plan.setup, edges, tell)
    for planned in plan.rounds:
        _anchor_round(node, contract, planned, edges, tell, outcome)
    return outcome


def find_contract(
    node: EthereumNode, setup: Setup, record: Record, address: str | None = None
) -> Any:
    """The contract that anchors this run on the node's chain.

    Raises `WrongChainError` where the run is anchored elsewhere only, or the contract anchors
    another ledger; `AnchorError` where it is another contract, or none.
    """
    if address is None:
        deployment = record.find(node.chain_id, node.genesis)
        if deployment is None:
            raise _elsewhere(node, record)
        address = deployment.contract
    elif not load("eth_utils").is_address(address):
        raise UsageError(f"{address!r} is no Ethereum address")
    else:
        address = load("eth_utils").to_checksum_address(address)
    contract = node.contract_at(address)
    chain = bytes(node.call(contract.functions.chain))
    if chain != setup.chain:
        raise WrongChainError(f"the contract at {address} anchors ledger {chain.hex()[:16]}…, this "
                              f"run's is {setup.chain.hex()[:16]}…")
    return contract


def _elsewhere(node: EthereumNode, record: Record) -> Exception:
    if not record.all:
        return UsageError("the run is not anchored yet: bdn anchor RUN --rpc URL")
    there = ", ".join(f"{item.chain_id} (genesis {item.genesis[:10]}…)" for item in record.all)
    return WrongChainError(
        f"the run is anchored on chain {there}, and the node at {node.where} is of chain "
        f"{node.chain_id} (genesis {node.genesis[:10]}…)")


def _contract(
    node: EthereumNode, setup: Setup, record: Record, told: Told, address: str | None, new: bool
) -> Any:
    """The recorded contract, or a new one. A record without a contract was never deployed."""
    known = None if new else record.find(node.chain_id, node.genesis)
    if address is None and (known is None or not node.code_size(known.contract)):
        return _deploy(node, setup, record, told)
    return find_contract(node, setup, record, address)


def _deploy(node: EthereumNode, setup: Setup, record: Record, told: Told) -> Any:
    artefact, deployer = load_artefact(), node.accounts[0]
    edges = [(account.address, key)
             for account, key in zip(node.accounts, setup.edges, strict=False)]
    factory = node.web3.eth.contract(abi=artefact.abi, bytecode=artefact.bytecode)
    construction = factory.constructor(
        setup.chain, setup.modulus, setup.weight_inside, len(setup.devices),
        [(shape.ciphertexts, shape.leaves) for shape in setup.shapes], edges,
    )
    expected = node.next_contract_address(deployer)
    deployment = Deployment(node.chain_id, node.genesis, expected)
    sent = node.send(construction, deployer, ready=lambda: record.keep(deployment))
    if sent.contract != expected:
        raise AnchorError(f"deployed at {sent.contract} instead of {expected}: another program "
                            f"uses account {deployer.address}; run again with --contract "
                            f"{sent.contract}")
    told(f"deployed at {expected}", sent.gas)
    return node.contract_at(expected)


def _edge_accounts(node: EthereumNode, contract: Any) -> dict[bytes, Account]:
    """Our accounts that the contract knows as edge servers, by the edge's ledger address."""
    found = {}
    for account in node.accounts:
        key = bytes(node.call(contract.functions.edgeKey, account.address))
        if any(key):
            found[address_of(key)] = account
    if not found:
        raise UsageError("none of the accounts is an edge server of the contract at "
                         f"{contract.address}; only those may anchor")
    return found


def _register(
    node: EthereumNode, contract: Any, setup: Setup, edges: dict[bytes, Account], told: Told
) -> None:
    """Register the devices that are still missing, in genesis order."""
    done = int(node.call(contract.functions.registered))
    account = next(iter(edges.values()))
    while done < len(setup.devices):
        batch = list(setup.devices[done : done + BATCH])
        sent = node.send(contract.functions.register(batch), account)
        told(f"registered {len(batch)} devices", sent.gas)
        done += len(batch)


def _anchor_round(
    node: EthereumNode, contract: Any, planned: PlannedRound, edges: dict[bytes, Account],
    told: Told,
    outcome: AnchorResult,
) -> None:
    item, expected = planned.round, commitment_of(planned.round)
    before = read_anchored(node, contract, item.epoch, item.phase)
    if not before.there:
        account = edges.get(planned.proposer, next(iter(edges.values())))
        payments = [(p.source, p.target, p.amount) for p in planned.payments]
        call = contract.functions.anchor(round_argument(item), payments)
        try:
            told(f"anchored {item.name}", node.send(call, account).gas)
            return
        except RevertedError as error:
            if error.name != "AlreadyAnchored":
                raise
        before = read_anchored(node, contract, item.epoch, item.phase)  # another edge was faster
    if before.commitment == expected:
        outcome.already.append(item.name)
    else:
        outcome.conflicts.append(item.name)


# --- comparing ----------------------------------------------------------------------------------


def compare(node: EthereumNode, contract: Any, plan: Plan) -> list[str]:
    """Every difference between ledger and chain, in words; none where they agree.

    The ledger itself is `bdn verify`'s to check, and that the code is the contract's was checked
    when ``contract`` was found.
    """
    found = list(_setup_differences(node, contract, plan.setup))
    for planned in plan.rounds:
        found.extend(_round_differences(node, contract, planned))
    count = int(node.call(contract.functions.roundCount))
    there = sum(read_anchored(node, contract, planned.round.epoch, planned.round.phase).there
                for planned in plan.rounds)
    if count != there:
        found.append(f"{count - there} anchored rounds are not in the ledger at all")
    return found


def _setup_differences(node: EthereumNode, contract: Any, setup: Setup) -> Iterator[str]:
    functions = contract.functions
    keccak = load("eth_utils").keccak
    for what, getter, expected in (
        ("ledger id", functions.chain, setup.chain),
        ("Paillier modulus", functions.modulusDigest, bytes(keccak(setup.modulus))),
        ("cipher (who applies the weights)", functions.weightInside, setup.weight_inside),
        ("number of devices", functions.deviceCount, len(setup.devices)),
        ("number of registered devices", functions.registered, len(setup.devices)),
    ):
        value = node.call(getter)
        if value != expected:
            yield f"{what}: {_shown(value)} on chain, {_shown(expected)} in the ledger"
    for phase, shape in enumerate(setup.shapes):
        if tuple(node.call(functions.shapes, phase)) != (shape.ciphertexts, shape.leaves):
            yield f"shape of phase {phase}: another one on chain"
    for device in map(address_of, setup.devices):
        if not node.call(functions.isDevice, device):
            yield f"device {device.hex()}: not registered on chain"
    keys = [bytes(node.call(functions.edgeKey, account)) for account in node.call(functions.edges)]
    if len(set(keys)) != len(keys) or not set(keys) <= set(setup.edges):
        yield "edge servers: some on chain are not those of the ledger"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _round_differences(node: EthereumNode, contract: Any, planned: PlannedRound) -> Iterator[str]:
    item = planned.round
    kept = read_anchored(node, contract, item.epoch, item.phase)
    if not kept.there:
        yield f"{item.name}: not anchored"
        return
    if kept.lie:
        yield f"{item.name}: ciphertext {kept.lie - 1} was proven false by a challenge"
    if kept.commitment != commitment_of(item):
        there = read_round(node, contract, item.epoch, item.phase)
        yield f"{item.name}: anchored otherwise than the ledger has it ({_which(item, there)})"
    paid = [(p.source, p.target, p.amount) for p in planned.payments]
    if _paid(node, contract, kept, item) != paid:
        yield f"{item.name}: other reward events on chain than in the ledger"


def _which(ours: AnchorRound, there: AnchorRound) -> str:
    names = ("height", "block_digest", "aggregate_root", "contributions")
    return ", ".join(name for name in names if getattr(ours, name) != getattr(there, name))


def _paid(
    node: EthereumNode, contract: Any, kept: Anchored, item: AnchorRound
) -> list[tuple[bytes, bytes, int]]:
    """The reward events of the transaction that anchored a round, in order."""
    anchor = _anchor_log(node, contract, kept, item.epoch, item.phase)
    logs = node.logs(contract.events.Paid, kept.block, epoch=item.epoch)
    return [(bytes(log["args"]["source"]), bytes(log["args"]["target"]), log["args"]["amount"])
            for log in logs if log["transactionHash"] == anchor["transactionHash"]]


def read_round(node: EthereumNode, contract: Any, epoch: int, phase: int) -> AnchorRound:
    """The round as it was anchored, from its event; `AnchorError` where it is not anchored."""
    kept = read_anchored(node, contract, epoch, phase)
    values = _anchor_log(node, contract, kept, epoch, phase)["args"]["round"]
    contributions = tuple(Contribution(bytes(c["device"]), int(c["weight"]), bytes(c["root"]))
                          for c in values["contributions"])
    return AnchorRound(int(values["epoch"]), int(values["phase"]), int(values["height"]),
                 bytes(values["blockDigest"]), bytes(values["aggregateRoot"]), contributions)


def _anchor_log(node: EthereumNode, contract: Any, kept: Anchored, epoch: int, phase: int) -> Any:
    if not kept.there:
        raise AnchorError(f"epoch {epoch}, phase {phase}, is not anchored")
    logs = node.logs(contract.events.RoundAnchored, kept.block, epoch=epoch, phase=phase)
    if len(logs) != 1:
        raise AnchorError(f"the node does not give the event of epoch {epoch}, phase {phase}; "
                            "ask one that keeps its logs")
    return logs[0]
