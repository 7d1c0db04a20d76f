"""Models run on images and videos: detector, estimator, pipeline, follower. Never PyTorch."""
