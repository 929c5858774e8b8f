"""Hosting: agents as services of one process, from declarations to a drained shutdown."""
