"""Organizations, who belongs to them, and what they own."""
