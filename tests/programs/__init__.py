"""Programs that tests start as processes of their own, to pause and to kill them."""
