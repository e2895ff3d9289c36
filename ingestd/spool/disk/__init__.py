"""The disk itself: handles, names, leases, extents, rights and mounts; no idea of what the files are."""
