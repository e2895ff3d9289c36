"""How fast, how often and how long: concurrency, waits, the breaker and the brake."""
