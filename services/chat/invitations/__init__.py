"""Invitations: what opens a conversation for whoever holds it. The rules are the conversation's (``domain/inviting``)."""
