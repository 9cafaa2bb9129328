"""The z document, one readable JSON object per picture, and conversions to other formats."""
