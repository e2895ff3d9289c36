"""What outlives the process: the journal, orders, the state folder, and what was learnt of the ground."""
