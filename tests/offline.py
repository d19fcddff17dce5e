"""Reads the file of an offline W&B run: records of protocol buffers in LevelDB's log format."""

import json
import struct

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, FILE_HEADER, LAST = 32768, 7, {1, 4}  # a record ends with a chunk of type 1 (the only one) or 4 (the last)


def records(path):
    """Yield every record of a ``run-ID.wandb`` file."""
    content, at, record = path.read_bytes(), FILE_HEADER, b""
    while at < len(content):
        if BLOCK - at % BLOCK < FILE_HEADER:  # a block's tail, too short for a chunk's header
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + FILE_HEADER : at + FILE_HEADER + size]
        at += FILE_HEADER + size
        if kind in LAST:
            yield Record.FromString(record)
            record = b""


class Offline:
    """What the only offline run below a folder holds.

    ``config`` and ``rows`` (the history) are dicts as the run gave them, ``artifacts`` has (name, aliases) in order.
    """

    def __init__(self, folder):
        (path,) = folder.rglob("run-*.wandb")
        self.id = path.stem.removeprefix("run-")
        self.config, self.rows, self.artifacts = {}, [], []
        for record in records(path):
            for item in (*record.run.config.update, *record.config.update):
                self.config |= {item.key: json.loads(item.value_json)} if item.key else {}
            if record.history.item:
                items = record.history.item
                self.rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
            artifact = record.artifact if record.HasField("artifact") else record.request.log_artifact.artifact
            if artifact.name:
                self.artifacts.append((artifact.name, list(artifact.aliases)))

    def column(self, name):
        """Return a metric's values in order."""
        return [row[name] for row in self.rows if name in row]
