"""What the service holds."""
