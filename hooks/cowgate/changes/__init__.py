"""The closed set of changes: values.py has the values, <kind>.py what each does, journal.py writes ahead and undoes."""
