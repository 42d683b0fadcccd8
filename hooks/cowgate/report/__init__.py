"""The readiness report: the document, its publication, its formats."""
