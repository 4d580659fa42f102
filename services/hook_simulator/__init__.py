"""A tenant's own look at messages, as a tenant would write it: refuses some words and replaces others."""
