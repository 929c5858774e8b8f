"""Wire formats: what providers take and send, as pure functions over bytes."""
