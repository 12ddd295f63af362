"""How the log of a range is kept on the engine, and what all hosts know alike."""

from __future__ import annotations

from relay.cluster.jetstream import StreamConfig
from relay.cluster.names import bucket_of, log_of, stream_of, tail_of
from relay.settings.clustering import ClusterSettings

