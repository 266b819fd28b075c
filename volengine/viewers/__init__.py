"""Viewers of other people that show what volengine writes; each module is for one of them."""
