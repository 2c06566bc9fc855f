"""Engines for OpenVINO: a graph, and weights that are smoothed, rounded and streamed into one file."""
