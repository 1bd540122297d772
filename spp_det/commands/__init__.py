"""The commands of `spp-det`, a file for each kind; cli.py puts them together."""
