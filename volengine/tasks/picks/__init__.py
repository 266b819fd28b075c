"""picks: tables of picks from one format into another, joined, filtered, described; subvolumes at picks."""
