"""A whole run, seeded: see `bdn.experiments.run` and `bdn.experiments.config`."""
