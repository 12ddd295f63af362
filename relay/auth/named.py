"""Mode "proxy": a proxy has authenticated whoever makes the handshake, and names him in a header.

Whether it is a proxy that is believed is the entrance's business: `Peer.named` is empty otherwise.
"""

from __future__ import annotations

from relay.auth.contract import Credentials, Denied, Granted, Peer, Verdict


class NamedAuthenticator:
    """Lets in who was named, as the user of that name and no other."""

    def check(self, credentials: Credentials, peer: Peer, *, now_s: float) -> Verdict:
        """See `Authenticator.check`.

        A name counts as it is written: two users of the proxy must not become one here because a
        jid may be spelled in many ways.
        """
        if not peer.named:
            return Denied(401, "no proxy has said who this is")
        if peer.named != credentials.user:
            return Denied(401, "the login is of another user than remoteJid")
        return Granted()

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`: a proxy is heard at handshakes alone."""
        return True

    def refresh(self) -> bool:
        """See `Authenticator.refresh`: there are no files."""
        return False

    def take_keys(self, content: bytes) -> None:
        """See `Authenticator.take_keys`: there are none."""

    async def close(self) -> None:
        """See `Authenticator.close`: it holds nothing."""
