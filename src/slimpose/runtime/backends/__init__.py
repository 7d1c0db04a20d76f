"""What computes a network: ONNX Runtime, OpenVINO, or NVIDIA's through ONNX Runtime, all behind ``Session``."""
