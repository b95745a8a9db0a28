"""An edge server: the devices' door to the ledger, and one replica of those that agree on it.

- `server`: the edge server itself; it takes devices' transactions and serves what they ask for;
- `admission`: which transactions and blobs it lets in to wait for a block; `blob_sizes`: how large
  these may be;
- `application`: the ledger behind PBFT: what to propose, accept and execute; `miner`: proof of
  work in PBFT's place.
"""
