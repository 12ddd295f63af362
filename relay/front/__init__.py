"""The front process: WebSockets on one side, the bus on the other, nothing durable."""
