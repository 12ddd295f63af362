"""A worker's decisions, pure: envelopes in, changes of a batch and effects out."""
