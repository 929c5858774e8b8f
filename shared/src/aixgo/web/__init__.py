"""What HTTP clients of models and of tools share: secrets, headers, when to come back."""
