import numpy as np

from pipelines.evaluate.metrics.edges import edge_energy


def test_blur_lowers_the_edge_energy_and_noise_raises_it():
    stripes = np.zeros((1, 8, 8, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert edge_energy(stripes).tolist() == [1.0]
    grey = np.full_like(stripes, 127)
    assert edge_energy(grey).tolist() == [0.0]


def test_edges_are_seen_along_both_sides_and_not_between_colour_channels():
    stripes = np.zeros((1, 8, 8, 3), np.uint8)
    stripes[:, ::2] = 255
    assert edge_energy(stripes)[0] == edge_energy(stripes.swapaxes(1, 2))[0] == 1.0
    assert edge_energy(np.full((1, 8, 8, 3), (255, 0, 40), np.uint8))[0] == 0.0
