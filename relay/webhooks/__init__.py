"""What an endpoint of the operator's is told: events, how they are noted, written and signed."""
