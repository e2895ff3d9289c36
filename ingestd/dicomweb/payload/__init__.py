"""What requests and answers carry, written and read as it passes."""
