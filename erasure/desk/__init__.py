"""The staff's side of erasure, for any admin site: an edge, like an API."""
