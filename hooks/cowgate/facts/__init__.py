"""What is true of this machine: in <source>.py collect(host, policy) asks through the host, parse functions are pure."""
