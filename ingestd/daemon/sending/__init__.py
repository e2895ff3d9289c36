"""The way out: batches, slots, answers, and what each answer leads to."""
