"""How each tree of a store is looked at by a check; one module a family of trees."""
