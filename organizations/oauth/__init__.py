"""OAuth 2: applications of organizations, what they may do, and for whom."""
