"""One module per Lambda-backed state: pure `run(given, *, ports)`, and the ports they need."""
