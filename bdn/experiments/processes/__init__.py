"""Each node in an operating-system process of its own: the same devices and edge servers, driven
over sockets, in real time.

::

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from bdn.experiments.config import RunConfig
    >>> from bdn.experiments.folder import RunFolder
    >>> from bdn.experiments.processes.run import opened_processes
    >>> config = RunConfig(
    ...     devices=3, threshold=2, epochs=1, iterations=2, samples=20, key_bits=512)
    >>> with TemporaryDirectory() as place:
    ...     folder = RunFolder.create(Path(place) / "run", config)
    ...     with opened_processes(config, folder) as run:
    ...         history = run.complete()
    >>> sorted(history["epochs"][0]["contributors"])
    ['device-1', 'device-2', 'device-3']

**The nodes are unchanged.** A device and an edge server take events and return effects. In one
process `bdn.experiments.runner` carries the effects out in virtual time; here `driver` does, with a
real clock, and `connections` has the sockets. So the model is the same, bit for bit, as long as the
same devices contribute: data, batches and sums do not depend on who drives.

**Each process knows only what is its own** (`assignment`): its identity, its key share, its data,
and what genesis tells everybody; `hosts` makes the node of it. It comes over a pipe, never over a
command line, the environment or a file. What a node must not forget it writes to a journal of its
own, readable by its owner alone.

**The parent is the experimenter** (`run`, `children`): it makes the material, starts the
processes, and listens to their traces. It carries no message between nodes. It knows all secrets,
as a dealer does; devices that do not want that make the key among themselves, on machines of
their own, which is more than this module plays.

**The package itself imports nothing**, so that a process loads only what its role needs.

**Nobody is left behind.** Children end when they are told to, or when their parent is gone, however
it went. A child that dies is started again from its store, and the others go on meanwhile, as the
protocol promises. Where too few are left, the run ends with a sentence that says who died and what
is missing.

**Without BlockDeepNet** (`central_nodes`): devices send raw data to a server that trains on them.
It is what Fig. 5 compares with; ``benchmarks/roles.py`` measures both.

Where we differ from the in-process runner: time is real, so all nodes share the machine's cores,
and nothing repeats byte for byte (``--deterministic`` is refused).
"""
