"""Load from several clients, through the public API only, with a seed; everything recorded."""
