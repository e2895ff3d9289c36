"""The commands: thin; each reads its options, asks app for a daemon, and says what came of it."""
