"""The engine that runs: one Python closure for each node of a contract."""
