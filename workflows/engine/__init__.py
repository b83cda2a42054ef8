"""The deterministic, event-sourced interpreter of state machines; its door is `engine`."""
