"""The chaos run: a real relay under load and under fire, and a ledger that proves what it kept.

`python -m tests.chaos --help` tells how to run it. Pure: `ledger` (what clients saw), `checker`
(what that proves), `schedule` (which fault when), `doors` (where a client connects). With I/O:
`user` (the clients), `fleet` (the relay's processes, which are a run's `ground`), `run` (all of
them together). `cluster` has the ground of several hosts.

With `--client node` the users are the JavaScript client's: `driver.mjs` is they, `record` gives
what they tell to the load generator's verifier, `noderun` is such a run.
"""
