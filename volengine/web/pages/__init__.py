"""Files of the pages that volengine serves: HTML, styles, scripts."""
