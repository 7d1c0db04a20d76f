"""The page that runs the models in a browser: its files and the folder of ``export --web``."""
