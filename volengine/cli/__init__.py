"""The command line, one module per verb: it parses options, calls a function of ``volengine.tasks``, and prints."""
