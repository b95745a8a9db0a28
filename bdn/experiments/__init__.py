"""A whole run by real devices and edge servers in one process.

`config` says what a person can choose, `material` makes data, identities, keys and genesis of it,
`setup` the nodes, `runner` drives them in virtual time, `run` to the end, `history` what is then
known, `folder` keeps it, `verification` recomputes it::

    >>> from bdn.experiments.config import RunConfig
    >>> from bdn.experiments.run import run_in_memory
    >>> history = run_in_memory(RunConfig(
    ...     devices=3, threshold=2, epochs=1, iterations=2, samples=20, key_bits=512))
    >>> sorted(history["epochs"][0]["contributors"])
    ['device-1', 'device-2', 'device-3']
"""
