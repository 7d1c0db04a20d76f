"""Weights read from other projects' published ONNX graphs: MoveNet, PP-TinyPose, PicoDet."""
