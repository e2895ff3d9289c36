"""The origin server as a person's command asks it."""
