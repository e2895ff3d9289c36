"""What knows of threads and of nothing else."""
