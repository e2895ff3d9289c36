"""What a service's answer means: for the instances of its batch, for what is proved, and for a person."""
