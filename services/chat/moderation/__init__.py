"""Keeping order in a tenant: reports and their review, users who are banned from all of it, and the tenant's own look at messages."""
