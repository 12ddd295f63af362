"""What a front answers an inquiry with: a module a topic, each with `handlers(insight)`."""
