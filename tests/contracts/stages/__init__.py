"""The services under contract: each port on each platform, and the strings that a test pulls.

A stage is a port and what makes it do on purpose what its docstring speaks of. A platform joins
with one more stage in each module's table; the scripted ones are `tests/fakes/`, which the tests
of tasks and API trust.
"""
