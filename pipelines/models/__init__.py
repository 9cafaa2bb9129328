"""The networks of Kaleido, and loading the models of others safely."""
