"""Edge servers that stop: Table 1's single point of failure.

n_e = 3f + 1 edge servers agree by PBFT (Castro and Liskov 1999): with f of them gone blocks are
sealed as before, with more nothing is sealed, and nothing that was sealed is lost.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from bdn.experiments.folder import RunFolder
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    hear,
    is_same,
    once,
    proposes_updates,
    same_model,
    small_run,
    views,
)
from bdn.experiments.run import Run, opened_run
from bdn.experiments.runner import StalledError
from bdn.experiments.setup import make_edge
from bdn.nodes.device.device import Stage
from bdn.nodes.edge.server import EdgeServer
from bdn.runfolder.findings import SINGLE_POINT, Finding
from bdn.seal import fault_bound

GROUP = "edge servers crash"
CLAIMED = ("Table 1, single point of failure: BlockDeepNet distributes the load of the DL "
           "operation in a decentralized manner and overcomes a central control dependency.")


def crash_edge(key_bits: int) -> Finding:
    """A backup edge server crashes in the middle of an epoch."""
    with opened_run(small_run(key_bits)) as run:
        left = hear(run, "edge-left")
        once(run, proposes_updates(run, 0), lambda: run.runner.crash("edge-2"))
        run.runner.run(run.is_over)
        same, sealed_in = same_model(run), views(run, 1)
        height, gone = run.edges[1].ledger.height, not run.runner.is_up("edge-2")
        turned = sorted({r["node"] for r in left if r["edge"] == "edge-2"})
    return Finding(
        tried="Edge server 2, a backup, stops while the first candidate block is being agreed on.",
        happened=(
            f"The other three sealed all {height} blocks, in views {sealed_in}.",
            f"Devices that turned to another edge server: {', '.join(turned) or 'none'}.",
            f"The model is {is_same(same)} as without the crash.",
        ),
        claimed=CLAIMED,
        not_covered="A device whose edge server is gone waits for an answer before it turns to "
                    "another one: seconds, not milliseconds.",
        held=gone and same and sealed_in == [0],
    )


def crash_primary(key_bits: int) -> Finding:
    """The primary edge server crashes while it proposes the first candidate block."""
    with opened_run(small_run(key_bits)) as run:
        once(run, proposes_updates(run, 0), lambda: run.runner.crash("edge-0"))
        run.runner.run(run.is_over)
        same, sealed_in = same_model(run), views(run, 1)
        gone = not run.runner.is_up("edge-0")
    return Finding(
        tried="Edge server 0, the primary, stops after it has sent its PRE-PREPARE of the first "
              "candidate block.",
        happened=(f"Blocks were sealed in views {sealed_in}: another primary took over.",
                  f"The model is {is_same(same)} as without the crash."),
        claimed=CLAIMED,
        not_covered="The epoch waits for the view change: the devices' requests must grow old "
                    "before a primary is suspected.",
        held=gone and same and max(sealed_in) > 0,
    )


def crash_f(key_bits: int) -> Finding:
    """Two of seven edge servers crash, each while it is the primary."""
    config = small_run(key_bits, edges=7)
    with opened_run(config) as run:
        for edge in range(fault_bound(config.edges)):
            once(run, proposes_updates(run, edge),
                 lambda name=f"edge-{edge}": run.runner.crash(name))  # type: ignore[misc]  # bound now
        run.runner.run(run.is_over)
        same, sealed_in = same_model(run), views(run, 6)
        gone = [edge.name for edge in run.edges if not run.runner.is_up(edge.name)]
    return Finding(
        tried="Of n_e = 7 edge servers the first two primaries, f = 2, stop one after the other, "
              "each right after its PRE-PREPARE.",
        happened=(
            f"Gone: {', '.join(gone)}. The other five sealed blocks in views {sealed_in}.",
            f"The model is {is_same(same)} as without the crashes.",
        ),
        claimed=CLAIMED,
        not_covered="f is fixed when the chain begins; edge servers cannot be replaced by others "
                    "during a run.",
        held=len(gone) == fault_bound(config.edges) and same and max(sealed_in) >= len(gone),
    )


def crash_too_many(key_bits: int) -> Finding:
    """More than f edge servers crash, and come back later."""
    config = small_run(key_bits)
    with TemporaryDirectory() as place:
        folder = RunFolder.create(Path(place) / "run", config)
        with opened_run(config, folder) as run:
            once(run, proposes_updates(run, 0), lambda: _crash(run, 0, 1))
            stalled = _stall(run)
            before = [edge.ledger.height for edge in run.edges]
            kept = [edge.ledger.store.block(edge.ledger.height).digest for edge in run.edges]
            returned = [_return(run, folder, index) for index in (0, 1)]
            lost = [edge.name for edge, height, digest in zip(run.edges, before, kept, strict=True)
                    if edge.ledger.height < height
                    or edge.ledger.store.block(height).digest != digest]
            run.runner.run(lambda: all(d.stage is Stage.FINISHED for d in run.devices))
            same, height = same_model(run), run.edges[3].ledger.height
            for edge in returned:
                edge.ledger.close()
    return Finding(
        tried="Two of four edge servers, f + 1, stop while the first candidate block is being "
              "agreed on. Later they start again from their files.",
        happened=(
            f"While they were gone, the height stayed {max(before)} and the run said: {stalled}.",
            f"Sealed blocks lost: {', '.join(lost) or 'none'}.",
            (f"When they were back, blocks up to {height} were sealed and the model is "
             f"{is_same(same)} as without the crash."),
        ),
        claimed=CLAIMED,
        not_covered="Without a quorum nothing is sealed: PBFT prefers a halt to two histories. The "
                    "files must survive: an edge server that has lost its journal may vote twice.",
        held="no block for" in stalled and not lost and same and height > max(before),
    )


def _crash(run: Run, *edges: int) -> None:
    for index in edges:
        run.runner.crash(f"edge-{index}")


def _stall(run: Run) -> str:
    """Drive ``run`` until it cannot go on; what it says then."""
    try:
        run.runner.run(run.is_over)
    except StalledError as error:
        return str(error)
    return "nothing: it went on"


def _return(run: Run, folder: RunFolder, index: int) -> EdgeServer:
    """Start an edge server again, from its ledger's file and its journal alone."""
    run.edges[index].ledger.close()
    edge = make_edge(run.material, index, folder.ledger(index), run.store, run.trace)
    run.edges[index] = edge
    run.runner.add(edge)
    return edge


EXPERIMENTS = (
    Experiment("crash-edge", GROUP, SINGLE_POINT, crash_edge),
    Experiment("crash-primary", GROUP, SINGLE_POINT, crash_primary),
    Experiment("crash-f", GROUP, SINGLE_POINT, crash_f),
    Experiment("crash-too-many", GROUP, SINGLE_POINT, crash_too_many),
)
