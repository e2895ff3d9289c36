"""How the service is asked and how it answers."""
