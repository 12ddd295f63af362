"""The load generator: loads any relay through its public protocol, verifies it, and shows its cost.

`python -m relay.loadgen --help` tells how to use it. `plan` says what is run, `conductor` runs it in
`member` processes, `ledger` verifies, and `report`, `table`, `page` and `compare` show the outcome.
"""
