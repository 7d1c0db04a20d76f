"""The network family: encoder, shrunk deconvolutions, DARK; poses and person boxes from the same parts."""
