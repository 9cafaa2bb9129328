"""The z document: one readable JSON object a picture, and the formats of other tools around it."""
