"""The local model: files from installed packages, a server in the background, an adapter."""
