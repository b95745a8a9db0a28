"""A whole run by real devices and edge servers in one process.

`config` says what a person can choose. `provisioning` makes data, identities, keys and genesis of
it, `setup` the nodes and their files. `runner` drives them in virtual time, `run` to the end;
`history` says what is known then. `folder` makes, locks and replaces run folders, and
`verification` recomputes a ledger::

    >>> from bdn.experiments.config import RunConfig
    >>> from bdn.experiments.run import run_in_memory
    >>> history = run_in_memory(RunConfig(
    ...     devices=3, threshold=2, epochs=1, iterations=2, samples=20, key_bits=512))
    >>> sorted(history["epochs"][0]["contributors"])
    ['device-1', 'device-2', 'device-3']
"""
