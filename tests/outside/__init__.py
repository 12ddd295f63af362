"""The relay seen from outside: frames, clients and the relay's processes, for all tests of a whole.

`tests/integration`, `tests/chaos` and `tests/trials` stand on it. What it knows of the protocol is
what the sheet tells, and none of it comes from the relay's codec, whose mistakes it must not share.
"""
