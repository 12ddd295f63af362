"""What the admin process may ask a front or a worker, and how it is answered: a module a topic."""
