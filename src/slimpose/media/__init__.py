"""Images, videos, streams and cameras: read and written."""
