"""T5: loading checkpoints, and giving them the tokens of z."""
