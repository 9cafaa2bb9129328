"""Visual tokenizers: from an image to ids of a codebook."""
