"""Is this file whole, and which instance is it? Bytes in, a verdict out: blind to folders and to HTTP (PS3.10, PS3.5)."""
