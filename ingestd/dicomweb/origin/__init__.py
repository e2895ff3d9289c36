"""The origin server as the daemon needs it: ports.Origin, and what an answer says of the service."""
