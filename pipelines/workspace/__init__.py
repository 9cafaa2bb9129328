"""What lies on disk: settings, shards, manifests, locks, and the status of all of them."""
