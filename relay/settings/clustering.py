"""Several hosts that are one relay: [cluster], a file that `relay cluster init` writes."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from relay.settings.rows import Flag, Row, Table
from relay.settings.sizes import GIB, MIB, TIB

# They are words of subjects, names of streams and parts of identities on the bus.
_NAME: Final = r"[a-z][a-z0-9]{0,31}"
_NAME_OR_EMPTY: Final = rf"^({_NAME})?\Z"
_IN_WORDS: Final = "a lower-case letter and up to 31 letters and digits, or empty"
_ADDRESS: Final = r"[0-9A-Za-z.:_-]{1,253}"
_HOST: Final = rf"^{_NAME}={_ADDRESS}\Z"
# Nobody's name and password: those of this file count there too.
_ENGINE_URL: Final = r"^(nats|tls)://([0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}\Z"
_PORTS: Final = r"^[0-9]{1,5}-[0-9]{1,5}\Z"
_PEM: Final = r"^(-----BEGIN [A-Z ]+-----[0-9A-Za-z+/=\s]+-----END [A-Z ]+-----\s*)*\Z"
_MOST_PEM: Final = 65_536
# It stands in a configuration and in URLs.
_PASSWORD: Final = r"^([0-9A-Za-z_-]{20,128})?\Z"  # noqa: S105  # the form of one
_Z85: Final = r"^([0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40})?\Z"
_BY_INIT: Final = "as `relay cluster init` writes it, or empty"

_Engines = Annotated[
    tuple[Annotated[str, Meta(pattern=_ENGINE_URL)], ...], Meta(min_length=1, max_length=15)
]

OWN_ENGINE: Final = "own"
# Of a majority a host may be missing, so the third is the first that makes one.
FEWEST_HOSTS: Final = 3


class ClusterSettings(Table, frozen=True):
    """[cluster]: what all hosts must say alike, and which of them this one is.

    Over 15 fields, a row each.
    """

    name: Annotated[
        str,
        Meta(pattern=_NAME_OR_EMPTY, description=_IN_WORDS),
        Row(
            'What the hosts are called together. "": this relay is on one host, and the rest of'
            " this table means nothing. `relay cluster init` writes a file for several, the same"
            " for each.",
            restart=True,
        ),
    ] = ""
    hosts: Annotated[
        tuple[Annotated[str, Meta(pattern=_HOST)], ...],
        Meta(
            max_length=15,
            description="a list of up to 15 hosts, a name and the address by which the others"
            ' reach it, such as ["a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3"]',
        ),
        Row(
            "All of them, by name, with the addresses by which they reach each other. Of three one"
            " may be lost, of five two.",
            restart=True,
        ),
    ] = ()
    host_name: Annotated[
        str,
        Meta(pattern=_NAME_OR_EMPTY, description=_IN_WORDS),
        Row(
            "Which of them this one is; given on the command line the file is the same on all.",
            restart=True,
            flag=Flag("network", "--host-name", "NAME", "which of cluster.hosts this one is"),
        ),
    ] = ""
    witness: Annotated[
        str,
        Meta(pattern=_NAME_OR_EMPTY, description=_IN_WORDS),
        Row(
            "The one of them that only votes and keeps copies, where two serve: it runs the engine,"
            ' no front and no worker. "": all serve.',
            restart=True,
        ),
    ] = ""
    # 16 workers are busy on 8 hosts of 2 cores; each costs its streams on 3 hosts 30 MiB of memory.
    ranges: Annotated[
        int,
        Meta(ge=1, le=256),
        Row(
            "Into how many parts the users are divided, which hosts own and take over as a whole:"
            " as many workers as all hosts together will ever have. It cannot be changed later, and"
            " is in place of server.workers.",
            restart=True,
        ),
    ] = 16
    standbys: Annotated[
        int,
        Meta(ge=1, le=4),
        Row(
            "Hosts that keep a range ready to be taken over, besides its owner. With {default} the"
            " loss of a host is a pause of seconds; with 2 the loss of a second one is too. Each"
            " costs what writing its messages costs once more.",
            restart=True,
        ),
    ] = 1
    # Beats come each 0.25 s: five that are missing are no late packet.
    detect_s: Annotated[
        float,
        Meta(ge=0.5, le=60),
        Row(
            "Seconds of silence after which a host counts as lost, and others take over what it"
            " owned. {default}: longer than a busy host is late, and most of its users' wait.",
            unit="s",
            restart=True,
        ),
    ] = 1.5
    isolate_s: Annotated[
        float,
        Meta(ge=0.5, le=600),
        Row(
            "Seconds without a majority of the hosts after which this one sends its clients away:"
            " it can ack nothing, and elsewhere they are served.",
            unit="s",
            restart=True,
        ),
    ] = 3.0
    in_flight: Annotated[
        int,
        Meta(ge=1, le=16),
        Row(
            "Records of a range that are on their way to a majority at a time. {default}: while one"
            " is, the next gathers; more cost less time where the hosts are far from each other,"
            " and more work a message.",
            restart=True,
        ),
    ] = 1
    engine: Annotated[
        Literal["own"] | _Engines,
        Meta(
            description='"own", or a list of up to 15 addresses of NATS servers, such as'
            ' ["nats://10.0.0.1:4222"]',
        ),
        Row(
            'Who keeps the log of each range. "own": a nats-server on each host, which the relay'
            " starts. A list: NATS servers of yours, with TLS by certificates that `ca` below has"
            " signed. They are refused unless each syncs always (sync_interval). They need the"
            " users `relay` and `system` with the password below, the first in an account with"
            " JetStream, the other in the system account; and a max_payload of 1 MiB or, with large"
            " messages or many ranges, more.",
            restart=True,
        ),
    ] = "own"
    engine_port: Annotated[
        int,
        Meta(ge=1, le=65535),
        Row(
            "TCP port of the engine for the hosts' processes, by TLS with certificates on both"
            " ends.",
            restart=True,
        ),
    ] = 9013
    route_port: Annotated[
        int,
        Meta(ge=1, le=65535),
        Row("TCP port by which the engines reach each other, likewise.", restart=True),
    ] = 9014
    bus_ports: Annotated[
        str,
        Meta(pattern=_PORTS, description='the first and the last TCP port, such as "9100-9355"'),
        Row(
            "TCP ports of which each worker takes a free one, where fronts and workers of other"
            " hosts reach it, encrypted by CURVE: two for each range, as a worker that is renewed"
            " is there twice.",
            restart=True,
        ),
    ] = "9100-9355"
    # As many as there may be ranges.
    begins_behind: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=1 << 62)], ...],
        Meta(
            max_length=256,
            description="a list of numbers of records, one for each range, as `relay cluster init"
            " --backup` writes it, or an empty one",
        ),
        Row(
            "Of hosts that take over from a backup: the record with which it ends, of each range."
            " The logs begin behind them, and nobody owns a range before `relay cluster restore`"
            " has handed out its store. It never changes.",
            restart=True,
        ),
    ] = ()
    # At 5 MB/s of records in all it fills in under an hour; what standbys have is trimmed.
    store_bytes: Annotated[
        int,
        Meta(ge=64 * MIB, le=64 * TIB),
        Row(
            "Most that the engine of a host keeps on its disk, which must have that room: what"
            " standbys do not have yet, and ten minutes. A range whose log is full takes no sends."
            " {default}: a host may be away for an hour of 5 MB/s before it has to copy all anew.",
            unit="bytes",
            restart=True,
        ),
    ] = 16 * GIB
    ca: Annotated[
        str,
        Meta(pattern=_PEM, max_length=_MOST_PEM, description=f"a certificate in PEM, {_BY_INIT}"),
        Row(
            "Who has signed the next one. This and what follows is written by `relay cluster init`"
            " and shown nowhere; no one but the owner and group of the file may read it.",
            restart=True,
            secret=True,
        ),
    ] = ""
    ca_key: Annotated[
        str,
        Meta(pattern=_PEM, max_length=_MOST_PEM, description=f"a private key in PEM, {_BY_INIT}"),
        Row("The key that it signs with: `relay cluster add` needs it.", restart=True, secret=True),
    ] = ""
    certificate: Annotated[
        str,
        Meta(pattern=_PEM, max_length=_MOST_PEM, description=f"a certificate in PEM, {_BY_INIT}"),
        Row(
            "The certificate of all hosts, by which they know each other.",
            restart=True,
            secret=True,
        ),
    ] = ""
    certificate_key: Annotated[
        str,
        Meta(pattern=_PEM, max_length=_MOST_PEM, description=f"a private key in PEM, {_BY_INIT}"),
        Row("Its key.", restart=True, secret=True),
    ] = ""
    password: Annotated[
        str,
        Meta(pattern=_PASSWORD, description=f"20 to 128 letters, digits, - and _, {_BY_INIT}"),
        Row(
            "What the hosts' processes say to an engine, and engines to each other.",
            restart=True,
            secret=True,
        ),
    ] = ""
    bus_public: Annotated[
        str,
        Meta(pattern=_Z85, description=f"a public key of CURVE in Z85, {_BY_INIT}"),
        Row(
            "The key by which fronts and workers know those of other hosts.",
            restart=True,
            secret=True,
        ),
    ] = ""
    bus_secret: Annotated[
        str,
        Meta(pattern=_Z85, description=f"a secret key of CURVE in Z85, {_BY_INIT}"),
        Row("Its secret half.", restart=True, secret=True),
    ] = ""

    @property
    def is_on(self) -> bool:
        """Whether there are several hosts."""
        return bool(self.name)

    @property
    def addresses(self) -> Mapping[str, str]:
        """The address of each host by its name, in the order of the file; the witness's too."""
        return dict(_parts(host) for host in self.hosts)

    @property
    def address(self) -> str:
        """The address of this host."""
        return self.addresses[self.host_name]

    @property
    def serving(self) -> tuple[str, ...]:
        """The names of the hosts that have fronts and workers, in the order of the file."""
        return tuple(name for name in self.addresses if name != self.witness)

    @property
    def is_witness(self) -> bool:
        """Whether this host only votes."""
        return self.host_name == self.witness != ""

    @property
    def has_own_engine(self) -> bool:
        """Whether each host runs an engine of ours."""
        return self.engine == OWN_ENGINE

    def begins(self, range_: int) -> int:
        """Return the record behind which the log of a range begins; 0: it begins empty."""
        return self.begins_behind[range_] if self.begins_behind else 0

    @property
    def bus_port_range(self) -> range:
        """The ports that workers take."""
        first, _, last = self.bus_ports.partition("-")
        return range(int(first), int(last) + 1)


# What `relay cluster init` has to have written, where there is a cluster.
WRITTEN_BY_INIT: Final = (
    "ca",
    "certificate",
    "certificate_key",
    "password",
    "bus_public",
    "bus_secret",
)


def _parts(host: str) -> tuple[str, str]:
    name, _, address = host.partition("=")
    return name, address
