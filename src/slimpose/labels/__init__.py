"""Labels of your own data: files of other tools, checks, proposals of a model, new projects."""
