"""What was dropped: found, watched and looked at."""
