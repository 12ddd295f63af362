"""Coverage-guided fuzzing: bytes that a machine makes up, by what the last ones reached.

A target (`targets/`) takes bytes and raises where something is wrong with what they lead to.
`machine` hands it to atheris, in a process of its own; `python -m tests.fuzz` runs several. What
is in `corpus/` they begin with, and `test_corpus` gives it to the targets in every run of the
tests, without atheris: each input that once led to a fault is there.
"""
