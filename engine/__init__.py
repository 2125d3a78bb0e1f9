"""What stands between the flags and the parts: parser, recipes, builders, the training loop, the evaluation."""
