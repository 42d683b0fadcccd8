"""The requirements: <domain>/<row>.py judges (pure: facts and policy in, verdict out), <row>.md beside it is its page."""
