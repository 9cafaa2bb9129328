"""Sources of images and captions, each written as data shards."""
