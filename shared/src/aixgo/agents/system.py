"""What must fit together among the agents of one system, for `App` and for documents."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from aixgo.agents.declaration import Declaration
from aixgo.config.problems import Wrong
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.tools.agent import Callee

__all__ = ["circles", "connect", "misfits", "subscriptions"]


def connect(declarations: Sequence[Declaration]) -> None:
    """Tell the tools that call agents what those take.

    Raises:
        ConfigError: the schema of what an agent takes cannot be used.
    """
    callees = {
        declared.spec.name: Callee(
            description=declared.spec.description,
            input_schema={} if declared.shape is None else declared.shape.input_schema,
        )
        for declared in declarations
    }
    for declared in declarations:
        declared.tools.bind(callees)


def misfits(
    declarations: Sequence[Declaration], known: Collection[str] = ()
) -> Iterator[tuple[Declaration, Wrong]]:
    """Yield what is wrong between agents: names of agents that are not there, circles of calls.

    Args:
        known: names that count as declared besides those of the declarations.
    """
    names = {declared.spec.name for declared in declarations} | set(known)
    called: dict[str, tuple[str, ...]] = {}
    for declared in declarations:
        spec = declared.spec
        written = [(("inputs", i, "source"), edge.source) for i, edge in enumerate(spec.inputs)]
        written += [(("outputs", i, "target"), edge.target) for i, edge in enumerate(spec.outputs)]
        for loc, name in written:
            if name not in names:
                yield declared, Wrong(loc, _nobody(name, names))
        try:
            called[spec.name] = declared.calls()
        except ConfigError as error:
            yield declared, Wrong((), str(error), error)
            continue
        for name in called[spec.name]:
            if name not in names:
                yield declared, Wrong((), _nobody(name, names), named=name)
    by_name = {declared.spec.name: declared for declared in declarations}
    for circle in circles(called):
        first, then = circle[0], circle[1 % len(circle)]
        way = " → ".join((*circle, first))
        text = (
            f"calls the agent {first!r} itself, which would never end; name another agent"
            if len(circle) == 1
            else f"calls itself over others ({way}), which would never end; break the circle"
        )
        yield by_name[first], Wrong((), text, named=then)


def subscriptions(declarations: Sequence[Declaration]) -> dict[str, tuple[str, ...]]:
    """Return the agents whose events each agent handles: its `inputs`, and who outputs to it."""
    heard: dict[str, set[str]] = {
        declared.spec.name: {edge.source for edge in declared.spec.inputs}
        for declared in declarations
    }
    for declared in declarations:
        for edge in declared.spec.outputs:
            if edge.target in heard:
                heard[edge.target].add(declared.spec.name)
    return {name: tuple(sorted(sources)) for name, sources in heard.items()}


def circles(edges: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Return one way around each part of a graph that leads back to where it began.

    Every node that lies on a circle is in the same part as the others of it, so circles that share
    nodes are told once. The order is that of the graph's nodes.
    """
    found: list[tuple[str, ...]] = []
    told: set[str] = set()
    for start in edges:
        if start in told:
            continue
        way = _way_back(start, edges)
        if way:
            found.append(way)
            told |= {node for node in edges if _reaches(start, node, edges)} & {
                node for node in edges if _reaches(node, start, edges)
            }
    return found


def _way_back(start: str, edges: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the shortest way from a node to itself, without its end; empty when there is none."""
    before: dict[str, str] = {}
    waiting = [start]
    while waiting:
        node = waiting.pop(0)
        for following in edges.get(node, ()):
            if following == start:
                way = [node]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return tuple(reversed(way))
            if following not in before:
                before[following] = node
                waiting.append(following)
    return ()


def _reaches(start: str, end: str, edges: Mapping[str, Collection[str]]) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        for following in edges.get(waiting.pop(), ()):
            if following == end:
                return True
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


def _nobody(name: str, names: Collection[str]) -> str:
    return f"no agent is named {name!r}{did_you_mean(name, names)}"
