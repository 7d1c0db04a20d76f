"""A network as another runtime's file: OpenVINO, LiteRT, NCNN, TensorRT. A module each; `writing` asks them."""
