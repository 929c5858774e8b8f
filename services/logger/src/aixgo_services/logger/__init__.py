"""The logger role: one structured log line for each message."""
