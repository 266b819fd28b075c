"""MRC files: reading, headers, rules for ambiguous header fields, writing."""
