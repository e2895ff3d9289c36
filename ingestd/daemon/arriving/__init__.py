"""The way in: from a name to a settled instance."""
