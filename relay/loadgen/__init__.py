"""The load generator: loads any relay through its public protocol, verifies it, shows its cost.

`python -m relay.loadgen --help` tells how to use it. Its rooms, of which each imports only from
those to its right:

    cli -> run -> report -> traffic -> verify

* `cli`: the command line. `load` can be mounted below another command.
* `run`: the conductor leads a plan's phases in `player` processes; servers that are started here;
  what processes cost.
* `report`: the record of a run, its figures, and how terminal and page show them.
* `traffic`: the plan, which says what a run is, and what one player does of it: users, their
  visits, scenarios.
* `verify`: the ledger, which is told of each frame and says what was wrong; the frames themselves.

Of the rest of the project nothing is imported but `relay.errors`, and what no relay uses
(`relay.trust`, `relay.handshake`): what verifies one must not share its mistakes.
"""
