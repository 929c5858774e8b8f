"""Hooks: functions that look at an agent's steps, and may change, refuse or hand them over."""

from __future__ import annotations

from aixgo.config.hooks import HookSpecs, Point
from aixgo.hooks.port import AskPerson, Change, Hooked, HookFunction, Note, Outcome, Refuse

__all__ = [
    "AskPerson",
    "Change",
    "HookFunction",
    "HookSpecs",
    "Hooked",
    "Note",
    "Outcome",
    "Point",
    "Refuse",
]
