"""Requests and what came back: connections, deadlines, and the one answer that is about who we are."""
