"""Traffic: what a run is, the users of one load process, and what each scenario has them do."""
