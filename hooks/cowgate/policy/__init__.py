"""What the owner of the machine wants and allows."""
