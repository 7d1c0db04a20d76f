"""Which layers of a model a hardware target computes, and which network fits it completely."""
