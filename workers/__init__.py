"""The router worker: owns the jids of a slot range, their mailboxes, groups and sessions."""
