"""Everything a user's machine runs: images in, poses out, with ONNX Runtime and OpenCV, never PyTorch."""
