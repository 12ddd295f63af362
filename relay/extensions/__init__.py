"""What clients may ask for beyond the core; each extension is one module of this package."""
