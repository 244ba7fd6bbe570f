"""The servers that the gateway is measured against, each a program that prints its port as a line of JSON."""
