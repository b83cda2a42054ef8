"""What every platform promises: each docstring of `tasks.ports` as tests that all of them pass."""
