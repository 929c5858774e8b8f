"""Tracing, logs and their names; nothing is exported unless it is configured."""
