"""Reads a contract's source: tokens, Python's tree, our tree, and checks of the whole."""
