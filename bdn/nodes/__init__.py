"""Devices and edge servers: Algorithm 2, as messages between machines that do not trust each other.

A node does no I/O of its own: ``node.step(event, now_ms)`` returns effects (`events`). Everything
on the wire is on one page (`messages`), and every answer to a device is checked against headers
that a quorum sealed.

- `device`: what a device does, from its keys to the opened sum;
- `edge`: what an edge server does, from a device's transaction to the sealed block;
- `ciphers`: which cipher an epoch's phase uses; `vector_host`: what the mining contract asks of it;
- `group_key`: the key under which shares of a decryption pass the edge servers unread;
- `requests`: a device's transaction as a request of PBFT; `settings`: what genesis fixes.

`device` and `edge` do not import each other; both import only what lies beside them. Where we
differ from the paper: see `bdn`.
"""
