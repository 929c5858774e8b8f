"""The durable call protocol: caller, worker, settle, dead letters."""
