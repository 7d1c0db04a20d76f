"""The command ``slimpose``: one file per command, imported only when it is called."""
