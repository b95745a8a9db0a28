"""A device: what learns, seals, reads the ledger as a light node, and helps to open sums.

- `device`: the device itself, from its first event to the last opened sum (Algorithm 2);
- `reader` follows the ledger, `interface` is the line to the contracts, `light_node` checks what
  comes against the headers that a quorum sealed;
- `keyring`: how the joint key comes onto the ledger;
- `work`: training and sealing; `opening`: shares of a decryption, and how t of them open a sum;
- `progress`: Algorithm 1 as one device sees it; `journal`: what survives a restart.
"""
