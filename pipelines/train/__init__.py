"""One training loop; a module per model holds its batches and its loss."""
