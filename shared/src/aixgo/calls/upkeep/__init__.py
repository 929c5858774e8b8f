"""Upkeep of the streams: what is finished goes, and what was lost with a server comes back."""
