"""The third kind of child: answers operators over HTTP, beside the path of messages."""
