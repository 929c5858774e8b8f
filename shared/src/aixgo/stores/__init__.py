"""What outlives runs, in the broker or in a database: one port for each kind of store."""
