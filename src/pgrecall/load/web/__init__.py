"""Pages and sitemaps over http(s), as the extra ``web``: what a good citizen fetches, and nothing inside."""
