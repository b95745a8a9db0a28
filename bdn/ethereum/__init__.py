"""Anchoring a run on Ethereum, and proving a lie: thin, and optional.

Nothing else knows of this package. web3 and its kin come with the extra ``ethereum`` and are
imported when they are needed. Two devices, of weights 3 and 1, and an edge server that is off by
one in Eq. (5)::

    >>> from bdn.chain import merkle, pack_blob
    >>> from bdn.identity import address_of
    >>> M = (293 * 433) ** 2                                    # N of 2048 bits outside of examples
    >>> a, b, sum = ([c.to_bytes(5, "big"), b"tail"] for c in (123, 456, 123**3 * 456 % M + 1))
    >>> keys = sorted((b"1" * 32, b"2" * 32), key=address_of)
    >>> shapes = (Shape(0, 0), Shape(ciphertexts=1, leaves=2), Shape(0, 0))
    >>> setup = Setup(bytes(32), M.to_bytes(5, "big"), False, tuple(keys), (b"e" * 32,), shapes)
    >>> parts = [Contribution(address_of(key), weight, merkle.root(leaves))
    ...          for key, weight, leaves in zip(keys, (3, 1), (a, b))]
    >>> lie = AnchorRound(1, 1, 4, bytes(32), merkle.root(sum), tuple(parts))
    >>> node, record = in_process(), Record(None)
    >>> outcome = anchor_run(node, Plan(setup, (PlannedRound(lie, (), bytes(20)),)), record)
    >>> [what for what, gas in outcome.gas][1:]
    ['registered 2 devices', 'anchored epoch 1, weights']
    >>> blobs = {merkle.root(leaves): pack_blob(leaves) for leaves in (a, b, sum)}
    >>> evidence = gather_evidence(lie, setup, 0, blobs.__getitem__)
    >>> contract = find_contract(node, setup, record)
    >>> challenge(node, contract, lie, setup, evidence, node.accounts[7]).lie
    True

**What is anchored.** `read_plan` reads a ledger: one `AnchorRound` for each aggregate (a gradient
phase and the closing losses are rounds as well), with the contributors' weights and update roots,
the aggregate's root and the block's digest. `contracts/Anchor.sol` emits all of it, and keeps a
round's keccak-256 in two slots of storage; rewards are events. A round is anchored once, by an
account that was registered for an edge server.

**Going on.** `anchor_run` asks the contract what is there and does the rest, so an interrupted run
is continued and nothing is done twice. The contract's address is written to the run folder's
`anchor.json` before its deployment is sent.

**The fraud proof.** `gather_evidence` collects the leaves at one index with their Merkle paths;
`challenge` shows them to the contract. It verifies the paths, computes ∏ c_k^{s_k} mod N² with the
MODEXP precompile, and flags the round where the claimed leaf is another number. Products come from
squares, 4xy = (x + y)² − (x − y)², because the EVM has no wide multiplication (`Modular.sol`).
`is_right` is the same judgement in Python.

**Comparing.** `compare` lists every difference between ledger and chain. What a fraud proof cannot
reach, it can: see below.

**Errors.** `bdn.ethereum.errors`; `refusals` has a sentence for every error of the contract.

What the contract does not see
------------------------------
- *Ring chunks and tails.* Eq. (5) speaks of the Paillier ciphertexts, leaf by leaf. With the
  ring-masked cipher the exponents are 1 (the device has applied its weight) and the ring part of
  an update stands under the same root, but the contract does not add it up.
- *Missing bytes.* A lie is proven with the leaves. Whoever anchors a root whose leaves nobody has
  cannot be convicted by this contract; `compare` names the round.
- *The edge servers' seals.* They are Ed25519, for which the EVM has no precompile. The contract
  believes a registered account; a light client (`bdn.chain.LightClient`) is what checks seals.

Where we differ: storage holds a commitment, two slots a round, instead of all roots and weights;
whoever challenges hands the round back in.
"""

from bdn.ethereum.anchoring import (
    Anchored,
    AnchorResult,
    anchor_run,
    commitment_of,
    compare,
    find_contract,
    read_anchored,
    read_round,
)
from bdn.ethereum.artefact import Artefact, load_artefact
from bdn.ethereum.errors import (
    AnchorError,
    EthereumError,
    FundsError,
    NodeError,
    RevertedError,
    WrongChainError,
)
from bdn.ethereum.fraud import (
    FraudEvidence,
    ProvenLeaf,
    Verdict,
    challenge,
    falsify,
    gather_evidence,
    is_right,
)
from bdn.ethereum.node import Account, EthereumNode, connect, in_process
from bdn.ethereum.plan import (
    PHASES,
    AnchorRound,
    Contribution,
    Payment,
    Plan,
    PlannedRound,
    Setup,
    Shape,
    read_plan,
)
from bdn.ethereum.record import Deployment, Record

__all__ = [
    "PHASES",
    "Account",
    "AnchorError",
    "AnchorResult",
    "AnchorRound",
    "Anchored",
    "Artefact",
    "Contribution",
    "Deployment",
    "EthereumError",
    "EthereumNode",
    "FraudEvidence",
    "FundsError",
    "NodeError",
    "Payment",
    "Plan",
    "PlannedRound",
    "ProvenLeaf",
    "Record",
    "RevertedError",
    "Setup",
    "Shape",
    "Verdict",
    "WrongChainError",
    "anchor_run",
    "challenge",
    "commitment_of",
    "compare",
    "connect",
    "falsify",
    "find_contract",
    "gather_evidence",
    "in_process",
    "is_right",
    "load_artefact",
    "read_anchored",
    "read_plan",
    "read_round",
]
