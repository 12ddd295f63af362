"""Several hosts: what a host knows of the others, and the replicated logs between them."""
