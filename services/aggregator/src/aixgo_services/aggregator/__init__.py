"""The aggregator role: many inputs in, one answer out, with what they agree and differ on."""
