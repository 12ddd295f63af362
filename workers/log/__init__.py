"""The log of a range on several hosts: its records, and who may write them; no store, no shard."""
