"""The react role: a prompt and a model that answer messages."""
