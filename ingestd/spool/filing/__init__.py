"""Where a file goes once its outcome is known, and back."""
