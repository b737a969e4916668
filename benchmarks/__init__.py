"""Scripts that measure, each beside a peer or a physical limit. Nothing here is part of Sexton."""
