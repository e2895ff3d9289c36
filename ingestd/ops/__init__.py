"""What operators see: log lines, metrics, health, and the service manager's view. Nothing here can stop or slow the pipeline."""
