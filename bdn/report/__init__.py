"""The report: one HTML page in which people see a run happen.

With ``run`` the path of a run folder, such as ``Path("runs/latest")``::

    >>> from bdn.report import write_report
    >>> page = write_report(run)
    >>> page.name
    'report.html'
    >>> "https://" in page.read_text()
    False

The page holds everything that it shows and asks the network for nothing, so it can be mailed,
kept, or shown from a stick. It is made of what a run leaves behind, and of nothing else:

    history.json    headline, curves, tables                    `sections`, `charts`
    trace.jsonl     sequence diagrams and latencies             `sequence`, `latency`, `rounds`
    ledger.sqlite   the block explorer, with proofs             `blocks`
                    gas by source line, replayed                `profile`
                    counts for Table 1                          `facts`
    lab.json        Table 1 with the attack lab's findings      `table_one`

**The diagram** draws each message of the trace as one arrow, in bands: all PREPAREs for a block in
a view are one band, so that an epoch is a page and not a wall.

**The proof check** is a computation, not a picture: the page's own SHA-256 (pages opened from a
file have no ``crypto.subtle`` in some browsers) leads from a transaction's bytes up its RFC 6962
path to the root in the header, and from the header to the block's digest. Change a byte and it
refuses. What it does not check are the edge servers' signatures and the contracts' results; `bdn
verify` does, from genesis on.

**Gas by line** comes from running the ledger's blocks once more in the interpreter that counts
lines. It is shown only where the replay charges exactly what the receipts say.

**For the terminal** (`bdn show`) the same figures can be had as plain values: `describe_block`,
`gas_by_line`, `latency_by_epoch`, `evidence`.

Pages stay small: no blob is embedded, and of very long runs only as many proofs and diagrams as
fit (`blocks.PROOF_BUDGET`, `sequence.MESSAGE_BUDGET`); the page says what it left out.
"""

from bdn.report.blocks import describe_block
from bdn.report.facts import Facts, norm_bound_cell, read_facts, scaling_warnings
from bdn.report.formatting import size_text
from bdn.report.gas_profile import gas_by_line
from bdn.report.inputs import Inputs, longest_ledger, read_confusion, read_inputs
from bdn.report.latency import STAGES, latency_by_epoch, median_epoch
from bdn.report.page import write_report
from bdn.report.rounds import read_rounds
from bdn.report.sections import (
    best_alone,
    failed_alone,
    rewards_note,
    shared_work,
    spoiled_epochs,
)
from bdn.report.sections import summary as run_summary
from bdn.report.sequence_diagram import Sequence as SequenceOfRun
from bdn.report.sequence_diagram import read_sequence
from bdn.report.table_one import CHALLENGES, evidence

__all__ = [
    "CHALLENGES", "STAGES", "Facts", "Inputs", "SequenceOfRun", "best_alone",
    "describe_block", "evidence", "failed_alone", "gas_by_line", "latency_by_epoch",
    "longest_ledger", "median_epoch", "norm_bound_cell", "read_confusion", "read_facts",
    "read_inputs", "read_rounds", "read_sequence", "rewards_note", "run_summary",
    "scaling_warnings", "shared_work", "size_text", "spoiled_epochs", "write_report",
]
