"""Text-to-image models of others (bases): a file per family, one loop that samples all of them."""
