"""The tests; a package, so that those that are programs share the harness of the others."""
