"""How well a picture follows its z, kind by kind."""
