"""Durable steps: what a handler can do through its `Context`, and how it is recorded."""
