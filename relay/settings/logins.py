"""Who may log in: [auth], and a table for each mode that has settings of its own."""

from typing import Annotated, Literal

from msgspec import Meta

from relay.settings.rows import Flag, Row, Table

# A token of RFC 9110, 5.6.2.
_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z"


class AuthSettings(Table, frozen=True):
    """[auth]: how a connection becomes a session (PROTOCOL 2.2)."""

    mode: Annotated[
        Literal["open", "token", "http", "proxy"],
        # Sessions would go on that another mode would not have let in.
        Row(
            '"open": a client is who it says it is. "token": a signed token says who it is, see'
            ' [auth_token]. "http": an endpoint of yours says so, see [auth_http]. "proxy": a'
            " proxy that has authenticated it says so, see [auth_proxy].",
            restart=True,
            flag=Flag("network", "--auth", "MODE", "who may log in: open, token, http, proxy"),
        ),
    ] = "open"
    deny_file: Annotated[
        str,
        Meta(max_length=4096, description="a path"),
        Row(
            "Who is let in no more, and is sent away: a line each, `user JID` or `token JTI`."
            ' "": nobody. It is read again when it changes. Not for mode "open", in which anybody'
            " is whoever he likes.",
            restart=True,
        ),
    ] = ""
    # Rule 5.
    deadline_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds from connecting to a successful auth, then the connection is closed (4401).",
            unit="s",
        ),
    ] = 30.0
    # Rule 4.
    max_failures: Annotated[
        int,
        Meta(ge=1, le=1000),
        Row("Failed auths on one connection, then it is closed (4401)."),
    ] = 3
    # Rule 8.
    max_takeovers: Annotated[
        int,
        Meta(ge=1, le=100_000),
        Row(
            "Logins that throw out a living session of the same user within takeover_window_s,"
            " then 429: stops two clients with one identity from throwing each other out for ever."
        ),
    ] = 5
    takeover_window_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row("Seconds over which max_takeovers are counted.", unit="s"),
    ] = 10.0


class TokenSettings(Table, frozen=True):
    """[auth_token]: which tokens mode "token" takes (PROTOCOL E1)."""

    algorithm: Annotated[
        Literal["HS256", "EdDSA", "RS256", "ES256"],
        Row(
            "How tokens are signed; a token that says otherwise is refused. HS256 goes by"
            " secret_file, the others by one of key_files, jwks_file and jwks_url.",
            restart=True,
        ),
    ] = "HS256"
    secret_file: Annotated[
        str,
        Meta(max_length=4096, description="a path"),
        Row(
            "The secret of HS256, at least 32 bytes. No one but its owner and group may read it."
            " This and the next files are read again when they change.",
            restart=True,
            flag=Flag("network", "--token-secret", "FILE", "the secret that signs tokens (HS256)"),
            content=True,
        ),
    ] = ""
    key_files: Annotated[
        tuple[str, ...],
        Meta(max_length=8, description="a list of at most 8 paths"),
        Row(
            "Public keys in PEM, one a file, for EdDSA, RS256 or ES256: whichever has signed a"
            " token. To change keys name both for as long as tokens of the old one are valid.",
            restart=True,
            content=True,
        ),
    ] = ()
    jwks_file: Annotated[
        str,
        Meta(max_length=4096, description="a path"),
        Row(
            "A JWKS in place of key_files; a token names its key by kid.",
            restart=True,
            content=True,
        ),
    ] = ""
    jwks_url: Annotated[
        str,
        Meta(max_length=4096, description="a URL"),
        Row(
            "The address of a JWKS, https://, or http:// on this machine. The keys are kept in the"
            " data directory too, for a start at which it does not answer.",
            restart=True,
        ),
    ] = ""
    jwks_refresh_s: Annotated[
        float,
        Meta(ge=60, le=86_400),
        Row(
            "Seconds after which jwks_url is asked again, sooner where its answer says so (max-age,"
            " but not under a minute). {default}: as long as a key may go on that was withdrawn."
            " An unknown key is asked about at once.",
            unit="s",
            restart=True,
        ),
    ] = 600.0
    jwks_rest_s: Annotated[
        float,
        Meta(ge=0.1, le=3600),
        Row(
            "Seconds between two fetches, however many tokens name a key that nobody knows: anybody"
            " can make one up. {default}: they cost 3 % of a core then, and the address next to"
            " nothing.",
            unit="s",
            restart=True,
        ),
    ] = 10.0
    issuer: Annotated[
        str,
        Meta(max_length=1000, description="a text"),
        Row('What iss of a token must be; "": whatever it is.', restart=True),
    ] = ""
    audience: Annotated[
        str,
        Meta(max_length=1000, description="a text"),
        Row('What aud of a token must be or hold; "": whatever it is.', restart=True),
    ] = ""
    leeway_s: Annotated[
        float,
        Meta(ge=0, le=300),
        Row(
            "Seconds by which the clock of who made a token may be off from this one.",
            unit="s",
            restart=True,
        ),
    ] = 5.0


class HttpSettings(Table, frozen=True):
    """[auth_http]: the endpoint that mode "http" asks."""

    url: Annotated[
        str,
        Meta(max_length=4096, description="a URL"),
        Row("What is asked at each login, http:// or https://.", restart=True),
    ] = ""
    headers: Annotated[
        tuple[Annotated[str, Meta(pattern=_HEADER)], ...],
        Meta(max_length=16, description="a list of at most 16 names of HTTP headers"),
        Row(
            'Headers of the WebSocket handshake that it is told, such as "Cookie" or'
            ' "X-Forwarded-For"; what a client sent is believed by nobody else.',
            restart=True,
        ),
    ] = ()
    timeout_s: Annotated[
        float,
        Meta(ge=0.05, le=25),
        Row(
            "Seconds in which it must have answered, or the login fails (503). Less than"
            " auth.deadline_s, and than a person waits.",
            unit="s",
            restart=True,
        ),
    ] = 3.0
    concurrency: Annotated[
        int,
        Meta(ge=1, le=1000),
        Row(
            "Logins that one front asks about at a time. {default} at 20 ms each are 1,600 a"
            " second.",
            restart=True,
        ),
    ] = 32
    cache_s: Annotated[
        float,
        Meta(ge=0, le=3600),
        Row(
            "Seconds for which a good answer is kept, and the same login not asked about again;"
            " who is refused there meanwhile may still come in. 0.0: none is kept.",
            unit="s",
            restart=True,
        ),
    ] = 10.0


class ProxySettings(Table, frozen=True):
    """[auth_proxy]: how mode "proxy" hears of a user; server.trusted_proxies are believed alone."""

    header: Annotated[
        str,
        Meta(pattern=_HEADER, description="the name of an HTTP header"),
        Row(
            "The header of the WebSocket handshake in which the proxy names who it has"
            " authenticated, by the local part. The proxy must overwrite what a client has sent"
            " there.",
            restart=True,
        ),
    ] = "X-Remote-User"
