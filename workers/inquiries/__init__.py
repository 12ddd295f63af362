"""What a worker answers an inquiry with: a module a topic, each with `handlers(insight)`."""
