"""Image v2, on `/image`: records in the log, bytes in the blob store. Shapes as Glance v2.15 gives them."""
