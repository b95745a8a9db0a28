"""The network that the devices train: the paper's CNN (Section 5) over one flat float32 vector.

`cnn` is the network as callers see it, and `shapes` says where each array lies in the vector.
`plain` computes it as one would write it on a board; `fast` is the twin that runs. Tests hold the
two equal and compare both with PyTorch and with finite differences.
"""
