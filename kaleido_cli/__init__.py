"""The `kaleido` command. It parses, calls one function of `pipelines`, shows the result."""

__version__ = "0.1.0"
