"""What a chip computes: targets as data, an ONNX file as layers, a verdict on each, the search for what fits."""
