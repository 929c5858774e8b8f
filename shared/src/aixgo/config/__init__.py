"""What people write: documents, durations, declarations of agents."""
