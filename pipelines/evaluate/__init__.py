"""Measuring models: observations, metrics, adherence to z, and the report."""
