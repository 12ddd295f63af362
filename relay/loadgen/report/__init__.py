"""The report: the record of a run, its figures, and how they are shown."""
