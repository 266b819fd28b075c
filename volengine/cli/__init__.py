"""The command line: one module per verb. A verb parses, calls one function of ``volengine.tasks``, and prints."""
