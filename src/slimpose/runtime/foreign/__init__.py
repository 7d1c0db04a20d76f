"""Model files that slimpose did not write: recognized, fed and decoded as the kinds they are."""
