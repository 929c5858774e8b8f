"""The model gateway as a service: the one process with provider keys and connections to models."""
