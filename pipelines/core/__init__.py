"""Records, stages, errors, seeds, images and progress: what everything else builds on."""
