"""Tests that need root and namespaces, containers or a virtual machine."""
