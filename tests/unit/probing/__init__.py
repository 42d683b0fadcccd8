"""The exchanges, parsers and searches behind the probes."""
