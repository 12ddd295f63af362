"""What operators type, without a relay."""
