"""The origin server as PS3.18 sees it: everything that speaks HTTP, and nothing that knows a folder."""
