"""The `atelier` command: a thin client of the HTTP API, for people and for scripts."""
