"""The Autobahn test suite's cases for servers, against a relay whose fronts echo.

`front` and `supervisor` are programs that stand in for the relay's own. `client` runs the cases in
a process of its own, `verdicts` compares them with `expected.toml`, and `suite` does it all.
"""
