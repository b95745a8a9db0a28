"""Being built."""

from bdn.ethereum.anchoring import (
    Anchored,
    Outcome,
    anchor_run,
    commitment_of,
    compare,
    find_contract,
    read_anchored,
    read_round,
)
from bdn.ethereum.artefact import Artefact, load_artefact
from bdn.ethereum.errors import (
    ContractError,
    EthereumError,
    FundsError,
    NodeError,
    RevertedError,
    WrongChainError,
)
from bdn.ethereum.fraud import (
    Evidence,
    ProvenLeaf,
    Verdict,
    challenge,
    falsify,
    gather_evidence,
    is_right,
)
from bdn.ethereum.node import Account, Node, connect, in_process
from bdn.ethereum.plan import (
    PHASES,
    Contribution,
    Payment,
    Plan,
    PlannedRound,
    Round,
    Setup,
    Shape,
    read_plan,
)
from bdn.ethereum.record import Deployment, Record

__all__ = [
    "PHASES", "Account", "Anchored", "Artefact", "ContractError", "Contribution", "Deployment",
    "EthereumError", "Evidence", "FundsError", "Node", "NodeError", "Outcome", "Payment", "Plan",
    "PlannedRound", "ProvenLeaf", "Record", "RevertedError", "Round", "Setup", "Shape", "Verdict",
    "WrongChainError", "anchor_run", "challenge", "commitment_of", "compare", "connect", "falsify",
    "find_contract", "gather_evidence", "in_process", "is_right", "load_artefact", "read_anchored",
    "read_plan", "read_round",
]
