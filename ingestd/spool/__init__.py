"""The disk, blind to HTTP: what is dropped, whether it is whole, and where it goes."""
