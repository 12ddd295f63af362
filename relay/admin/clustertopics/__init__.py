"""Topics of the API that only a relay of several hosts has."""
