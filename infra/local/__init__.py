"""The local platform: every port on SQLite, files and subprocesses of this machine."""
