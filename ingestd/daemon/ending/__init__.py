"""The end of the way: what is remembered, the move, and what comes after it."""
