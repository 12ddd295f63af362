"""The load generator: loads any relay through its public protocol, verifies it, shows its cost.

`python -m relay.loadgen --help` tells how to use it. `plan` says what a run is, `conductor` runs it
in `member` processes, `traffic` is what they do, `ledger` verifies it, `report` is its record, and
`figures`, `table`, `page` and `plots` show that.
"""
