"""Losses: plain functions of network outputs and labels."""
