"""Chat: conversations, their members and what is said in them, over unary calls and streams."""
