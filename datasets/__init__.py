"""Street scenes in the 19 classes of Cityscapes: label tables, data sets on disk, augmentation and loaders."""
