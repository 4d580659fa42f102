"""Services that talk: what users press on their cards, and what they answer."""
