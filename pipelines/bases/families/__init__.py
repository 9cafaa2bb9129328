"""What sampling and training must know of each family of bases, one file a family."""
