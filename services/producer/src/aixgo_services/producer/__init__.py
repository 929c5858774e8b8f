"""The producer role: events at a steady pace, from a template, a list or a file."""
