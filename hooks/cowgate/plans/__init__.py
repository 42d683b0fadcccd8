"""DNS zone and firewall rules, printed and never applied."""
