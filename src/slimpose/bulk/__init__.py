"""Archives of images and videos on many workers, with Ray Data: ``slimpose bulk``."""
