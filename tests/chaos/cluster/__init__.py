"""The chaos run of several hosts: they are killed, cut off, frozen and lose their power.

Pure: `schedule` (which fault when), `waits` (how long acks were missed), `epochs` (who wrote each
record of a log). With I/O: `hostfleet` (the hosts), `upgrading` (hosts that
get another version one after the other), `logs` (what the engines keep).
"""
