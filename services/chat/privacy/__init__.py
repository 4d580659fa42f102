"""What a person says is the person's: a key for each, contents sealed with it, exported on request, and erased with the key."""
