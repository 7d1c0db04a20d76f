"""Labels of one's own data: other tools' files, checks, labels proposed by a model, new projects."""
