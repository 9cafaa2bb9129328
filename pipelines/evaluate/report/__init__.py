"""The report as HTML, Markdown and JSON."""
