"""Planning: z of a caption without pictures, and a varied choice among many."""
