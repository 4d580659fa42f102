"""What is decided about reports of a message, and about a user's standing in a tenant. Pure; time comes in with the command."""
