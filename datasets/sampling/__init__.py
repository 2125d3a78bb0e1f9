"""Which samples an iteration draws, and the loaders that read them."""
