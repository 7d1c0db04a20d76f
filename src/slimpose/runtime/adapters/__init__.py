"""Other people's pose models behind ``slimpose.runtime.session.Model``; the files are the user's."""
