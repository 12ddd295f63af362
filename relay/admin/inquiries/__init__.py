"""What an admin answers those of other hosts itself: a module a topic, as of any process."""
