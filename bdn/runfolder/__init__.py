"""What a run folder holds, for everybody who writes or reads one.

| file | what |
|---|---|
| `bdn-run.json` | the marker: format, chain id, and what the run was made of |
| `config.json` | what was asked for |
| `ledger.sqlite` | edge server 0's ledger: what `bdn verify` recomputes |
| `edges/` | the other edge servers' ledgers, while the run lasts: at its end they are equal |
| `blobs/` | the bulky bytes that the ledgers name: a file for each, called by its Merkle root |
| `nodes.sqlite` | identities, key shares and journals: everything secret, for `bdn resume` |
| `nodes/` | with ``--processes``: each node's journal |
| `trace.jsonl` | what happened, one event per line |
| `model.npz` | the best model, and the last one |
| `models/` | with ``--keep-models``: the model after each epoch |
| `model.pt` | the best model of a PyTorch module, as its `state_dict` |
| `history.json` | figures by epoch and device |
| `metrics.csv` | the figures of each epoch, a row as soon as it is judged |
| `report.html` | the report |
| `lab.json` | the attack lab's findings, where it was played into the folder |
| `.bdn-lock` | locked by the process that works in the folder; the operating system frees it |
| `.bdn-new/` | a run that is being made; it moves up as soon as everything is checked |

In a real deployment each node keeps its own part of `nodes.sqlite`; one file holds them all here
because one process plays all nodes. It is readable by its owner alone.

`files` writes and reads such files, `history` knows the shape of `history.json`, `findings` that of
`lab.json`, and `metrics` the columns of `metrics.csv`. `bdn.experiments.folder` makes, locks
and replaces whole folders.
"""

MARKER, CONFIG, LEDGER, NODES = "bdn-run.json", "config.json", "ledger.sqlite", "nodes.sqlite"
HISTORY, MODEL, TRACE, REPORT = "history.json", "model.npz", "trace.jsonl", "report.html"
LAB, METRICS = "lab.json", "metrics.csv"
STATE_DICT = "model.pt"
EDGES, JOURNALS, MODELS, BLOBS = "edges", "nodes", "models", "blobs"
LOCK, DRAFT, REPLACED = ".bdn-lock", ".bdn-new", ".bdn-replaced.json"
"""`REPLACED` is the marker of a run whose files are being removed to make room for another."""

FILES = (CONFIG, LEDGER, NODES, HISTORY, MODEL, STATE_DICT, TRACE, REPORT, LAB, METRICS,
         "anchor.json")
"""What bdn writes into the folder itself, besides the marker. SQLite adds -wal and -shm files."""

FORMAT = "bdn run 2"
