"""The orchestrator role: patterns, each an ordinary async function over a `Context`."""
