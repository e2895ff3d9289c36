"""`ingestd dicomweb`: each transaction of the service (PS3.18) as a command, with the daemon's settings and identity."""
