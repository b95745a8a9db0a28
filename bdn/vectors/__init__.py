"""Known-answer vectors: what `bdn vectors` writes, and how a set is checked.

Others who implement docs/format.md test against the files in tests/vectors.
"""
