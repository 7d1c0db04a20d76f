"""Conversion of networks to the files of other runtimes; ``convert`` calls a module per runtime."""
