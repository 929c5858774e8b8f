"""The logger role: a structured record of each message, in a log, a file or on a server."""
