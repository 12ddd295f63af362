"""What operators type: it asks the admin process of a relay that runs, over its socket."""
