"""Where stages run over shards. Engines know stages, not models."""
