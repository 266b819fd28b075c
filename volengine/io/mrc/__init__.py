"""MRC files: reading, headers, rules of doubtful fields, writing."""
