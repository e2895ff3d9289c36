"""What may take its time, on a thread of its own."""
