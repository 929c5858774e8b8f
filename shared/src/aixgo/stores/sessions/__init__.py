"""Sessions: conversations that agents remember from one run to the next."""

from __future__ import annotations

from aixgo.stores.sessions.port import Conversation, Entry, SessionStore, Stored, Summary

__all__ = ["Conversation", "Entry", "SessionStore", "Stored", "Summary"]
