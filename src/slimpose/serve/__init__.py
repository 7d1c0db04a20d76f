"""The web server of ``slimpose serve``: a page with live cameras, and poses of images by HTTP."""
