"""The daemon: one thread that owns all state and takes each file its way."""
