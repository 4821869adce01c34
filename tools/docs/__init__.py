"""The documents that are written from the code: sections and keys, commands, and the public names of Python."""
