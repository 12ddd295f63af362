"""The topics of the API, a module each, with `ROUTES`; nothing lists them."""
