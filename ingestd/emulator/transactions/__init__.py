"""The transactions of PS3.18, one module each."""
