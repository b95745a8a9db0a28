"""Devices and edge servers: Algorithm 2, as messages between machines that do not trust each other.

A node is sans-IO: ``node.step(event, now_ms)`` returns effects (`bdn.nodes.events`). Everything on
the wire is on one page (`bdn.nodes.messages`), and every answer to a device is checked against
headers that a quorum sealed (`bdn.nodes.lightnode`).

- `device`, whose state is in `standing`, with `interface` (its line to the contracts), `keying`,
  `progress` (Algorithm 1 as it sees it), `memory` (what survives a restart), `tasks` and `learner`
  (its work, as pure functions);
- `edge`, with `application` (the ledger behind PBFT; `admission`: what may wait for a block) or
  `miner` (proof of work);
- `sealing`: which cipher an epoch's phase uses, and Eq. (5) bound to the mining contract;
- `group`: the key under which shares pass the edge servers unread; `settings`: what genesis fixes.

Where we differ: see `bdn`.
"""
