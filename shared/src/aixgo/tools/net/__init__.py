"""What tools over the network share: the guard, connections, templates, what an answer means."""
