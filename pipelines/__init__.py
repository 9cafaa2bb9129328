"""What the commands of Kaleido call, in layers from `core` up to `demo`."""
