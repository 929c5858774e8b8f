"""The producer role: events on a schedule, from a server, or from other systems."""
