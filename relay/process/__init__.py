"""What every child process is: its place, its channel to the supervisor, its exit codes."""
