"""What a folder can hold a hundred thousand of, said in a few lines."""
