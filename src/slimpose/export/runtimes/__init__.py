"""A network as the file of another runtime: OpenVINO, LiteRT, NCNN. One module each, and `writing` that asks them."""
