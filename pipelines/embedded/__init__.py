"""The shipped models. Their folders hold weights and cards."""
