"""The state machines, written in Python, compiled to the JSON that every platform runs."""
