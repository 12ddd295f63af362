"""Hosts of a cluster on this machine: network namespaces on one bridge, each with its own disk.

They are cut off, frozen, killed, and lose their power; it takes root, and a kernel that allows it.
"""
