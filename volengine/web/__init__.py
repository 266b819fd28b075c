"""The browser's side: a server for pages that show and change what volengine has made."""
