"""The `kaleido` command. It parses, calls one function of `pipelines`, and shows what that returns."""

__version__ = "0.1.0"
