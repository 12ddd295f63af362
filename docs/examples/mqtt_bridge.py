"""A bridge from MQTT: what is published at a topic goes to a user or a group, once and in order.

python mqtt_bridge.py 127.0.0.1:1883 'sensors/#' ws://127.0.0.1:9011/ bridge 919428284313

It needs `pip install paho-mqtt`. With QoS 1 the broker keeps a message until it is acked to it, and
here that comes after the relay has stored it (ack 1). So nothing is lost, whichever of the three is
killed. What the broker sends again goes out under the id that it had before, and the relay takes it
once. Those ids are in `bridge.db`, in the directory where this is run.
"""

import hashlib
import sqlite3
import sys
import time
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from relay.client import ClientError, SendRefused
from relay.client.sync import SyncClient

# A broker has far fewer under way, and does not use a number again before 65,535 others.
REMEMBERED = 1000
PAUSE_S = 5.0


class Ids:
    """The id of each of the last messages, on the disk before the message is sent."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)  # each statement is synced
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS ids (n INTEGER PRIMARY KEY, mid INT, digest BLOB, id TEXT)"
        )

    def of(self, message: mqtt.MQTTMessage) -> str:
        """Return the id of a message: a new one, or the one that it had when it came before."""
        digest = hashlib.sha256(f"{message.topic}\0".encode() + message.payload).digest()
        if message.dup:
            found = self._database.execute(
                "SELECT id FROM ids WHERE mid = ? AND digest = ? ORDER BY n DESC",
                (message.mid, digest),
            ).fetchone()
            if found:
                return str(found[0])
        new = uuid.uuid4().hex
        n = self._database.execute(
            "INSERT INTO ids (mid, digest, id) VALUES (?, ?, ?)", (message.mid, digest, new)
        ).lastrowid
        self._database.execute("DELETE FROM ids WHERE n <= ?", ((n or 0) - REMEMBERED,))
        return new


class Bridge:
    """Takes one message after the other from the broker to the relay."""

    def __init__(self, relay: SyncClient, to: str, topic: str) -> None:
        self._relay, self._to, self._topic = relay, to, topic
        self._ids = Ids("bridge.db")
        self._broker = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"relay-{relay.user}",
            clean_session=False,  # the broker keeps what comes while this is away
            manual_ack=True,
        )
        self._broker.on_connect = self._connected
        self._broker.on_message = self._came

    def run(self, host: str, port: int) -> None:
        """Serve until it is stopped, or the relay refuses the login."""
        self._broker.connect_async(host, port)
        self._broker.loop_forever(retry_first_connection=True)

    def _connected(self, broker: mqtt.Client, *_: object) -> None:
        broker.subscribe(self._topic, qos=1)

    def _came(self, broker: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        text = f"{message.topic}: {message.payload.decode(errors='replace')}"
        message_id = self._ids.of(message)
        while not self._is_settled(text, message_id):
            time.sleep(PAUSE_S)
        broker.ack(message.mid, message.qos)

    def _is_settled(self, text: str, message_id: str) -> bool:
        try:
            # Without an end: while the relay is away the broker keeps the rest.
            self._relay.send(self._to, text, id=message_id, timeout_s=None)
        except SendRefused as refused:
            print(f"not sent: {text[:60]!r}: {refused}", file=sys.stderr)
            return not refused.retryable
        except ValueError as error:  # what no relay takes, as a text that is too long
            print(f"not sent: {text[:60]!r}: {error}", file=sys.stderr)
        return True


def main(broker: str, topic: str, url: str, me: str, to: str) -> None:
    """Bridge until it is stopped."""
    host, _, port = broker.partition(":")
    with SyncClient(url, me) as relay:
        Bridge(relay, to, topic).run(host, int(port or 1883))


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except ClientError as error:
        sys.exit(f"the bridge has stopped: {error}")
    except KeyboardInterrupt:
        pass
