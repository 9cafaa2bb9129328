"""Folders of pictures by any model, compared caption by caption."""
