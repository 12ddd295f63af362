"""Trials of overload and recovery: what the relay promises when it is asked too much, measured.

`python -m tests.trials --help` tells how to run one. Each trial first lets some pairs of users chat
in calm, then loads or harms the relay under them, and compares. `stage` is what all of them stand
on: a real relay, `people`, the chatting `pairs`, the `memory` of every process. A trial makes
claims; `report` prints what was seen and which claims hold.
"""
