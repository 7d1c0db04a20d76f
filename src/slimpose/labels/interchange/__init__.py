"""Reading and writing the label files of other tools."""
