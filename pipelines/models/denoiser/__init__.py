"""The network that predicts a clean image from a noisy one."""
