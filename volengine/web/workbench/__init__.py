"""The page for daily work on a project: gallery and annotations."""
