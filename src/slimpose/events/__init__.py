"""What people do in zones, at lines and by their posture, and where such events are sent."""
