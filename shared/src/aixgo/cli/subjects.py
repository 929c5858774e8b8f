"""`aixgo subjects`: the catalogue of a namespace's subjects, streams and buckets."""

from __future__ import annotations

from aixgo.cli._options import Json, Space, namespace_of
from aixgo.cli._terminal import write, write_json
from aixgo.subjects import ALL, BLOBS, BUCKETS, STREAMS, Names


def command(namespace: Space = "default", json: Json = False) -> None:
    """List every subject of a namespace and the stream that keeps it, its streams and buckets."""
    names = Names(namespace_of(namespace))
    kept = {short: names.stream(short) for short in STREAMS}
    if json:
        for entry in ALL:
            stream = kept.get(entry.kept_in)
            write_json({"subject": names.prefix + entry.pattern, "stream": stream})
        for short in (*BUCKETS, BLOBS):
            write_json({"bucket": names.bucket(short)})
        return
    width = max(len(names.prefix + entry.pattern) for entry in ALL)
    for entry in ALL:
        write(f"{names.prefix + entry.pattern:<{width}}  {kept.get(entry.kept_in, 'core')}")
    write()
    write(f"buckets: {', '.join(names.bucket(short) for short in BUCKETS)}")
    write(f"objects: {names.bucket(BLOBS)}")
