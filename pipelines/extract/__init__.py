"""Stages that compute the latents of images."""
