"""The classifier role: a message in, its category and a confidence out."""
