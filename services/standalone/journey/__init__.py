"""An order's journey through Chat, Order and Mail, played and checked through the public API alone."""
