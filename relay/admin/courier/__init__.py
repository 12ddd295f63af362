"""Posts the events that workers keep to an endpoint of the operator's, until it has them."""
