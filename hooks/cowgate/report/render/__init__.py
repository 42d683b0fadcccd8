"""The formats of a report. Each module has render(document, ...) -> str and takes nothing but the report."""
