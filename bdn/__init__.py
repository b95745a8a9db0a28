"""BlockDeepNet (Rathore, Pan, Park 2019): the reading guide.

Ten lines to see it happen::

    $ bdn run --devices 5 --epochs 3        # train, seal, agree, open; a run folder is left behind
    $ bdn show runs/latest 4                # the first candidate block: its seal, its transactions
    $ bdn verify runs/latest                # every signature, root, proof and contract again

Or in Python: ``run = bdn.run(devices=5, epochs=3, model="softmax")``; ``help(bdn.run)``.

From the paper to the code
--------------------------

In short here; each equation, algorithm line, figure and table row, with its test, in docs/paper.md.
A tour of one epoch, executed: docs/tour.md. Who learns and spoils what: docs/security.md.

=====================================  =========================================================
paper                                  here
=====================================  =========================================================
§3.2, 1) local model                   `bdn.learning.models.cnn`, `bdn.learning.local`,
                                       `bdn.nodes.device.work`
§3.2, 2) smart contracts               `bdn/chain/contracts/sources/{learning,mining}.contract`
§3.2, 3) smart contract interface      `bdn.nodes.device.interface` (registration, communication,
                                       sharing, request for the model)
§3.2, 4) blockchain network            `bdn.chain` (ledger), `bdn.pbft` (consensus),
                                       `bdn.nodes.edge.server` (its activity log is the trace)
§3.2, 5) iteration and epoch           `bdn.learning.federated` (plaintext),
                                       `bdn.nodes.device.progress` (as a device sees it)
§3.1 IoT devices                       `bdn.nodes.device.device`
§4.1 Eqs. (1)–(3), the local rules     `bdn.learning.local`
§4.1 Eq. (4), Algorithm 1              `bdn.learning.federated`, `bdn.nodes.device.progress`
§4.2 blocks, B = [Tx_co, β, ℵ]         `bdn.chain.blocks`; size h + S·n in `block_size`
§4.2 Algorithm 2, lines 5–11           `bdn.nodes.device`, learning.contract
§4.2 Algorithm 2, lines 12–20          `bdn.nodes.edge.application`, mining.contract
§4.2 Algorithm 2, lines 21–27          `bdn.nodes.device.device` (`_make_share`, `_open`)
§4.2 Eq. (5)                           mining.contract (`weighted_sum`), `bdn.nodes.vector_host`
§4.2 E(·), SK [19]                     `bdn.paillier`
§5 proof of work                       `bdn.chain.seals`, `bdn.nodes.edge.miner`
§5 Figs. 3–5                           `benchmarks/`, rendered into docs/results.md
§5 Table 1                             `bdn.experiments.lab`
§5 CNN w1 … b3                         `bdn.learning.models.shapes`, `bdn.learning.models.cnn`
=====================================  =========================================================

How it is built
---------------

Imports go down only: ground floor (`errors`, `encoding`, `randomness`, `identity`, `record`,
`seal`, `trace`); `paillier`, `pbft`, `chain` and `learning`, which do not know each other; `nodes`
and `flower`; `experiments`, `report` and `ethereum`, which do not know each other either; `cli`.
The cores do no I/O: a replica, a device and an edge server each take an event and return effects,
and whoever drives them owns sockets, clocks and threads: one process for all of them, in virtual
time (`bdn.experiments.runner`), or one for each (`bdn.experiments.processes`).

Where we differ
---------------

From the paper (why: the table in docs/design-notes.md):

- Losses are weighted by s_k in Eq. (1), as the text under Eq. (3) weights gradients.
- Devices seal δ_k = w_k − w^(p-1), not w_k, and divide by s after opening: a ciphertext can be
  neither divided nor subtracted from by an edge server that does not know w^(p-1).
- Under ``svrg`` an epoch has a gradient phase, since no device knows ∇F(w^(p-1)) alone.
- F rides along with the update and is known one epoch later; a closing phase scores w^(P).
- SK is t-of-n: one public key, n shares (Fouque–Poupard–Stern), not a key pair a device.
- PBFT by default; proof of work on request.
- Rewards are tokens without market value. The processing reward is paid before the data rewards,
  so that a proposer can pay them; what is still missing is owed, and settled with the next payment.

From the design page that this project was built to:

- Devices' X25519 keys are registered first, then the public key with all wrapped group keys in one
  blob, which *every* device confirms before anything is uploaded; the page leaves the order open.
- The first t key holders, turning with the block's height, share at once; the others only after a
  deadline. With directly packed Paillier a share costs minutes, and t of them are enough.
- Under the ring-masked cipher the public polynomials hang on the last aggregate's root instead of
  the previous block: a late share may add a block between two devices' sealings, and they must
  agree on the polynomials all the same.
- A sum that opens, but is none that honest devices can have made, costs its epoch: every device
  sees it from the same plaintext, keeps w, and goes on. The page leaves open what comes after.
- Virtual time: one process plays all nodes, each a machine with its own clock. Measured work moves
  that clock, so that latencies are those of devices that really work side by side.
"""

import importlib
from typing import Any

__all__ = ["CompletedRun", "run"]


def __getattr__(name: str) -> Any:
    """Return `run` or `CompletedRun`, loaded when first asked for: ``import bdn`` stays cheap."""
    if name in __all__:
        return getattr(importlib.import_module("bdn.experiments.one_call"), name)
    raise AttributeError(f"module 'bdn' has no attribute {name!r}")
