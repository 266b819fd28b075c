"""Projects of copick: a configuration names two folders, in which names of folders and files say what there is."""
