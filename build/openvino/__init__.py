"""Engines for OpenVINO: the graph, and its weights rounded and streamed into one file."""
