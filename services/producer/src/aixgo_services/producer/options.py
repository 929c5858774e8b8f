"""What people declare of a producer."""

from __future__ import annotations

from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, JsonValue, field_validator, model_validator

from aixgo.config.agents import Options
from aixgo_services.producer.events import template_problem
from aixgo_services.producer.pages import PollOptions
from aixgo_services.producer.rate import Rate
from aixgo_services.producer.subjects import stream_problem, subject_problem

Missed = Literal["skip", "once", "all"]
"""What becomes of firings at which no instance was there."""

_SOURCES = ("template", "events", "file", "http", "subject")


class ProducerOptions(Options):
    """What a producer publishes, and when; exactly one of its sources."""

    template: JsonValue = None
    """Text or JSON of every event, with `{n}`, `{time}`, `{due}`, `{uuid}` and `{agent}` filled in;
    times take a format, such as `{due:%d.%m.%Y}`."""
    events: tuple[Any, ...] = ()
    """Events in order; each is text or any JSON value."""
    file: str = ""
    """Path of a file whose lines are the events: JSON values when it ends in `.jsonl`, else text;
    relative to the directory of the process. Read when the agent starts."""
    http: PollOptions | None = None
    """A server that is asked at every tick or firing; what is new in its answers are the events."""
    subject: str = ""
    """Messages of other systems on the same broker: what is sent to this subject is an event at
    once; `*` stands for a token, `>` for all that follow."""
    stream: str = ""
    """Name of the stream that keeps them: then none is lost, and each is one event. Without it what
    is sent while no instance listens is lost."""
    deliver: Literal["all", "new"] = "all"
    """Of `stream`: whether it begins with what is kept already, or what comes from now on."""
    buffer: int = Field(default=10_000, ge=1, le=1_000_000)
    """Of `subject` without a `stream`: messages that may wait to be published; more are dropped and
    counted in the log."""
    cycle: bool = False
    """Begin again when `events` or the lines of `file` are used up, instead of ending."""
    count: int = Field(default=0, ge=0)
    """Events after which it ends; 0 for no such end."""
    cron: str = ""
    """When an event is due, instead of at an `interval`: minute, hour, day of the month, month, day
    of the week (a field for seconds may come first), or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    `@yearly`. Each firing is one event, whatever the number of instances."""
    time_zone: str = "UTC"
    """Of `cron` and of formatted times, such as `Europe/Berlin`."""
    missed: Missed = "once"
    """What is published of firings at which no instance was there for over a minute: nothing
    (`skip`), one event for the newest (`once`), or an event for each (`all`)."""
    missed_limit: int = Field(default=100, ge=1, le=10_000)
    """Most missed firings that `all` publishes, the newest ones; the others are left out."""
    rate: Rate | None = None
    """Most events in a time, such as `10/s`; evenly spaced, of each instance."""

    @field_validator("template")
    @classmethod
    def _fields_are_known(cls, template: JsonValue) -> JsonValue:
        if problem := template_problem(template):
            raise ValueError(problem)
        return template

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"there is no time zone {name!r:.80}; write a name such as Europe/Berlin (a system "
                "without a time zone database needs `pip install tzdata`)"
            ) from None
        return name

    @model_validator(mode="after")
    def _fit_together(self) -> ProducerOptions:
        given = [name for name in _SOURCES if getattr(self, name)]
        if len(given) != 1:
            *some, last = _SOURCES
            raise ValueError(
                f"a producer has exactly one of {', '.join(some)} and {last}, not "
                f"{' and '.join(given) or 'none'}; leave one"
            )
        if self.cycle and given[0] not in ("events", "file"):
            raise ValueError(f"cycle belongs to events and file; a {given[0]} never ends by itself")
        self._check_subject()
        if self.cron:
            from aixgo_services.producer.cron import Cron

            Cron(self.cron, self.zone)
        elif late := {"missed", "missed_limit"} & self.model_fields_set:
            raise ValueError(f"{min(late)} belongs to cron; an interval leaves out what it missed")
        if self.http is not None and "missed" in self.model_fields_set:
            raise ValueError("missed belongs to events that are due; a missed poll needs no other")
        if "missed_limit" in self.model_fields_set and self.missed != "all":
            raise ValueError("missed_limit belongs to `missed: all`")
        return self

    def _check_subject(self) -> None:
        """Refuse what does not fit to messages of other systems.

        Raises:
            ValueError: says what.
        """
        given = self.model_fields_set
        if self.subject:
            if problem := subject_problem(self.subject):
                raise ValueError(problem)
            if self.cron:
                raise ValueError(
                    "cron does not belong to a subject, whose messages come as they do"
                )
        elif wrong := {"stream", "deliver", "buffer"} & given:
            raise ValueError(f"{min(wrong)} belongs to a subject; add one, such as orders.>")
        if self.stream and (problem := stream_problem(self.stream)):
            raise ValueError(problem)
        if "deliver" in given and not self.stream:
            raise ValueError("deliver belongs to a stream; without one only new messages come")
        if "buffer" in given and self.stream:
            raise ValueError("buffer belongs to messages that no stream keeps; leave it out")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)
