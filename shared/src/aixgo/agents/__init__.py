"""Agents: their declarations, the roles that they have, and how their handlers are read."""
