"""What a latent is: one protocol, its kinds, the sequence z and the grammar of z."""
