"""Sessions: conversations that agents remember from one run to the next."""

from __future__ import annotations

from aixgo.stores.sessions.port import Conversation, Entry, Key, SessionStore, Stored, Summary
from aixgo.stores.sessions.sessions import Sessions

__all__ = ["Conversation", "Entry", "Key", "SessionStore", "Sessions", "Stored", "Summary"]
